// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

const (
	// plotted bounds the streams on a page: those with the most episodes.
	plotted = 16
	// shown dimensions of a stream: those that contributed most.
	shown = 8
	// listed episodes of a stream, and contributions of one.
	listed, explained = 200, 4
	// heatRow and heatFrame are the height of a row of contributions and of what
	// is around them, in pixels; plot.js draws accordingly.
	heatRow, heatFrame = 20, 26
)

var (
	//go:embed plot.html
	plotHTML string
	//go:embed plot.css
	plotStyle string
	//go:embed plot.js
	plotScript string

	plotPage = template.Must(template.New("plot").Parse(plotHTML))
)

type page struct {
	Name, Facts string
	Style       template.CSS
	Script      template.JS
	Data        template.JS
	Streams     []pageStream
}

type pageStream struct {
	Resource, Facts string
	Labelled        bool
	SharesHeight    int
	EpisodesCaption string
	Episodes        []pageEpisode
}

type pageEpisode struct {
	Start, Written, Duration, Anomalous string
	StartSeconds, EndSeconds            float64
	Excess, Score, Regime               string
	Contributions                       []pagePart
}

type pagePart struct {
	Name, Value, Usual string
	Part               float64
}

// WritePlot writes one HTML page, which loads nothing from anywhere, about the
// replay that has run with Plot set.
func (r *Replay) WritePlot(w io.Writer) error {
	streams := slices.Clone(r.streams)
	slices.SortStableFunc(streams, func(a, b *stream) int { return b.NumEpisodes - a.NumEpisodes })
	p := page{Name: filepath.Base(r.name), Style: template.CSS(plotStyle), Script: template.JS(plotScript)} //nolint:gosec // both are this program's own
	if len(streams) != 1 {
		p.Facts = fmt.Sprintf("%d rows, %s, %s", r.rows, count(len(streams), "stream"), count(r.summary.NumEpisodes(), "episode"))
	}
	if len(streams) > plotted {
		p.Facts += fmt.Sprintf("; shown are the %d streams with the most episodes", plotted)
		streams = streams[:plotted]
	}
	data := make([]plotData, 0, len(streams))
	for _, s := range streams {
		if s.plot == nil {
			return errors.New("plot: nothing was kept for it")
		}
		top := s.plot.top()
		data = append(data, s.plot.data(top))
		p.Streams = append(p.Streams, describeStream(s, len(top)))
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("plot: %w", err)
	}
	p.Data = template.JS(encoded) //nolint:gosec // encoding/json escapes what could end the element
	return plotPage.Execute(w, &p)
}

func describeStream(s *stream, rows int) pageStream {
	d := pageStream{Resource: s.Resource, SharesHeight: rows*heatRow + heatFrame}
	d.Facts = fmt.Sprintf("%d rows over %s, %s; ", s.Rows, spoken(s.Span), count(len(s.Dimensions), "dimension"))
	if s.Ready == 0 {
		d.Facts += "the engine was never ready"
	} else {
		d.Facts += fmt.Sprintf("the engine was ready after %s; %d rows anomalous", spoken(s.ReadyAt), s.Anomalous)
	}
	if s.Report.History > 0 {
		d.Facts += fmt.Sprintf("; the limit is calibrated on %s of healthy time", spoken(s.Report.History))
		if s.Report.Extrapolated {
			d.Facts += " and extrapolated beyond"
		}
	}
	for i := range s.plot.bins[:s.plot.used] {
		d.Labelled = d.Labelled || s.plot.bins[i].marked > 0
	}
	d.EpisodesCaption = count(s.NumEpisodes, "episode")
	episodes := s.Episodes
	if len(episodes) > listed {
		episodes = episodes[:listed]
	}
	if len(episodes) < s.NumEpisodes {
		d.EpisodesCaption += fmt.Sprintf(", the first %d", len(episodes))
	}
	for i := range episodes {
		d.Episodes = append(d.Episodes, describeEpisode(&episodes[i]))
	}
	return d
}

func describeEpisode(e *Episode) pageEpisode {
	d := pageEpisode{
		Start: spoken(e.Start), Written: e.Time, Duration: spoken(e.Duration), Anomalous: count(e.Anomalous, "row"),
		StartSeconds: e.Start.Seconds(), EndSeconds: (e.Start + e.Duration).Seconds(),
		Excess: fmt.Sprintf("%.3g × limit", e.Excess()), Score: fmt.Sprintf("%.4g of %.4g, %s in", e.Peak.Score, e.Peak.Limit, spoken(e.PeakAt-e.Start)),
		Regime: fmt.Sprintf("%+d", e.Peak.Regime),
	}
	if e.Peak.Regime == 0 {
		d.Regime = "0"
	}
	whole := max(e.Peak.Distance*e.Peak.Distance, 1e-9)
	for k := range min(e.Peak.NumContributions, explained) {
		c := &e.Peak.Contributions[k]
		if c.Share <= 0 {
			continue
		}
		d.Contributions = append(d.Contributions, pagePart{Name: c.Dimension, Value: quantity(c.Value), Usual: quantity(c.Usual), Part: min(c.Share/whole, 1)})
	}
	return d
}

// spoken is a duration for people.
func spoken(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.4g d", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%.3g s", d.Seconds())
	}
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

// quantity is a measured value for people: with a prefix where it is large.
func quantity(v float64) string {
	a := math.Abs(v)
	for _, p := range []struct {
		unit   float64
		prefix string
	}{{1e12, " T"}, {1e9, " G"}, {1e6, " M"}} {
		if a >= p.unit {
			return strconv.FormatFloat(v/p.unit, 'g', 4, 64) + p.prefix
		}
	}
	if a >= 1e4 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}
