// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

// The chart's own units; the page stretches it.
const (
	chartWidth  = 1000
	chartHeight = 200
	chartPlot   = 188 // above it the scores, below it the levels
	chartSpan   = historyEvery * historySize
)

// chartSpans are the times that a chart may show: the shortest that there is a history
// for.
var chartSpans = []time.Duration{time.Minute, 5 * time.Minute, chartSpan}

// chart is the score over time, ready to be drawn.
type chart struct {
	Width, Height, Plot int
	Span                time.Duration // what the whole width is
	Top                 float64       // the score at its upper edge
	Words               string        // for those who do not see it
	Lines               []chartLine
	Bands               []chartBand
	Scores, Limits      []string // the points of lines, broken where nothing is known
}

type chartLine struct{ Y float64 }

type chartBand struct {
	X, Width float64
	Level    int
}

// draw makes the chart of what was until now.
func draw(moments []Moment, now time.Time) *chart {
	if len(moments) == 0 {
		return nil
	}
	c := &chart{Width: chartWidth, Height: chartHeight, Plot: chartPlot, Span: chartSpan, Top: 10}
	for _, span := range chartSpans {
		if now.Sub(moments[0].Time) <= span {
			c.Span = span
			break
		}
	}
	peak, highest := 0.0, 0
	for _, m := range moments {
		for _, v := range []*float64{m.Score, m.Limit} {
			if v != nil {
				c.Top = max(c.Top, 1.1**v)
			}
		}
		if m.Score != nil {
			peak = max(peak, *m.Score)
		}
		highest = max(highest, m.Level)
	}
	c.Words = fmt.Sprintf("The highest score was %.3g, the highest level %d, %s.", peak, highest, episode.LevelName(highest))
	for v := 1.0; v < c.Top; v *= 10 {
		c.Lines = append(c.Lines, chartLine{c.y(v)})
	}
	x := func(t time.Time) float64 {
		return tenth(chartWidth * (1 - float64(now.Sub(t))/float64(c.Span)))
	}
	for i, m := range moments {
		end := now
		if i+1 < len(moments) {
			end = moments[i+1].Time
		}
		last := len(c.Bands) - 1
		if last >= 0 && c.Bands[last].Level == m.Level {
			c.Bands[last].Width = tenth(x(end) - c.Bands[last].X)
		} else {
			c.Bands = append(c.Bands, chartBand{x(m.Time), tenth(x(end) - x(m.Time)), m.Level})
		}
	}
	c.Scores = c.line(moments, x, func(m *Moment) *float64 { return m.Score })
	c.Limits = c.line(moments, x, func(m *Moment) *float64 { return m.Limit })
	return c
}

// y is where a score is drawn: logarithmic, from 0 at the bottom.
func (c *chart) y(v float64) float64 {
	return tenth(chartPlot * (1 - math.Log1p(max(v, 0))/math.Log1p(c.Top)))
}

// line returns the points of a line, a new one after each gap.
func (c *chart) line(moments []Moment, x func(time.Time) float64, of func(*Moment) *float64) (lines []string) {
	var b strings.Builder
	end := func() {
		if b.Len() > 0 {
			lines = append(lines, b.String())
			b.Reset()
		}
	}
	for i := range moments {
		m := &moments[i]
		v := of(m)
		if v == nil || i > 0 && m.Time.Sub(moments[i-1].Time) > 4*historyEvery {
			end()
		}
		if v != nil {
			fmt.Fprintf(&b, "%g,%g ", x(m.Time), c.y(*v))
		}
	}
	end()
	return lines
}

func tenth(v float64) float64 { return math.Round(v*10) / 10 }
