// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/chart"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

// Figure is one chart of the page.
type Figure struct {
	Title, Note string
	Drawing     template.HTML
}

// Figures draws the timeline: seconds from the onset, both arms on one axis.
func Figures(in *Input, r *Report) []Figure {
	with := in.Arms[recording.With]
	f := figures{in: in, r: r, from: with.Seconds(with.Calm), to: with.Seconds(with.End)}
	return []Figure{f.score(), f.memory(), f.first(), f.answers(), f.latency()}
}

type figures struct {
	in       *Input
	r        *Report
	from, to float64
}

// frame is what all four charts share: the time axis, the levels as shades, and
// the moments that matter.
func (f *figures) frame(label string) chart.Chart {
	c := chart.Chart{Label: label, From: f.from, To: f.to}
	level, since := 0, f.from
	shade := func(until float64) {
		if level > 0 {
			c.Bands = append(c.Bands, chart.Band{
				From: since, To: until, Class: fmt.Sprintf("level level%d", level),
				Label: fmt.Sprintf("level %d, %.1f s to %.1f s", level, since, until),
			})
		}
	}
	for _, l := range f.r.Levels {
		shade(min(l.Time, f.to))
		level, since = l.Level, max(l.Time, f.from)
	}
	shade(f.to)
	c.Rules = append(c.Rules, chart.Rule{At: 0, Vertical: true, Class: "onset", Label: "leak begins"})
	return c
}

func (f *figures) score() Figure {
	c := f.frame("Mahalanobis distance of the node and its limit over time")
	c.Log, c.Floor = true, 0.1
	arm := f.in.Arms[recording.With]
	var distance, limit []chart.Point
	for _, s := range f.scores() {
		t := arm.WallSeconds(s.Time)
		if !math.IsNaN(s.Distance) {
			distance = append(distance, chart.Point{X: t, Y: s.Distance})
		}
		if !math.IsNaN(s.Limit) {
			limit = append(limit, chart.Point{X: t, Y: s.Limit})
		}
	}
	c.Lines = []chart.Line{
		{Label: "D_M of the node", Class: "with", Points: distance},
		{Label: "limit", Class: "limit", Points: limit, Step: true},
	}
	return Figure{
		"How unusual the node is",
		"The Mahalanobis distance D_M of the node from its learned baseline, on a logarithmic axis, and the limit above which it counts as an anomaly; " +
			"from the OTLP that the collector exported; it begins when enough is learned to judge. " +
			"The shades are the levels: the darker, the higher.",
		c.SVG(),
	}
}

// scores are those of the telemetry, or, where it has none, what the status page
// said.
func (f *figures) scores() []telemetry.Score {
	if f.in.Story != nil && len(f.in.Story.Scores) > 0 {
		return f.in.Story.Scores
	}
	arm := f.in.Arms[recording.With]
	scores := make([]telemetry.Score, 0, len(arm.Judgements))
	for _, j := range arm.Judgements {
		scores = append(scores, telemetry.Score{Time: arm.OnsetWall + j.Time - arm.Onset, Distance: j.Distance, Limit: j.Limit})
	}
	return scores
}

const gibibyte = 1 << 30

func gibText(v float64) string { return plain(v) + " GiB" }

// plain formats v with at most three decimals and no exponent.
func plain(v float64) string { return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64) }

// used is the memory of the payment service in GiB.
func used(a *recording.Arm) (points []chart.Point) {
	for _, s := range a.Samples {
		points = append(points, chart.Point{X: a.Seconds(s.Time), Y: float64(s.Payment) / gibibyte})
	}
	return points
}

// ceiling is memory.high of the payment service in GiB, absent where it is "max".
func ceiling(a *recording.Arm) (points []chart.Point) {
	for _, c := range a.Ceilings {
		y := math.NaN()
		if c.Value != recording.Unlimited {
			y = float64(c.Value) / gibibyte
		}
		points = append(points, chart.Point{X: a.Seconds(c.Time), Y: y})
	}
	if n := len(points); n > 0 && points[n-1].X < a.Seconds(a.End) {
		points = append(points, chart.Point{X: a.Seconds(a.End), Y: points[n-1].Y})
	}
	return points
}

// memoryLines are the lines of both memory charts, the protected arm on top.
func (f *figures) memoryLines() []chart.Line {
	with, without := f.in.Arms[recording.With], f.in.Arms[recording.Without]
	return []chart.Line{
		{Label: "without", Class: "without", Points: used(without)},
		{Label: "with Reflex", Class: "with", Points: used(with)},
		{Label: "memory.high that Reflex holds", Class: "ceiling", Points: ceiling(with), Step: true},
	}
}

func (f *figures) memory() Figure {
	c := f.frame("Memory of the payment service in both arms, its limit and its ceiling")
	c.Value, c.Lines = gibText, f.memoryLines()
	limit := float64(f.in.Arms[recording.With].Limit) / gibibyte
	c.Rules = append(c.Rules, chart.Rule{At: limit, Class: "hard", Label: "memory.max"})
	if f.r.OOMKillWithout != nil {
		c.Rules = append(c.Rules, chart.Rule{At: *f.r.OOMKillWithout, Vertical: true, Class: "without", Label: "killed without Reflex"})
	}
	return Figure{
		"Memory of the payment service",
		"memory.current ten times a second. Reflex puts a ceiling (memory.high) over the service and lets it rise at a budget: the leak is slowed, the service is not stopped.",
		c.SVG(),
	}
}

// first is the memory chart around the onset, where the arc is.
func (f *figures) first() Figure {
	c := f.frame("Memory of the payment service in the first seconds of the leak")
	c.Value, c.Lines = gibText, f.memoryLines()
	c.From, c.To = -1, min(5, f.to)
	for _, m := range []struct {
		at    *float64
		label string
	}{{f.r.Detected, "noticed"}, {f.r.Contained, "contained"}} {
		if m.at != nil && *m.at <= c.To {
			c.Rules = append(c.Rules, chart.Rule{At: *m.at, Vertical: true, Class: "with", Label: m.label})
		}
	}
	c.Floor = f.floor(c.From, c.To)
	return Figure{
		"The first seconds",
		"The same around the onset of the leak. The vertical axis does not begin at zero.",
		c.SVG(),
	}
}

// floor is a round value a little below everything the memory chart shows
// between two instants.
func (f *figures) floor(from, to float64) float64 {
	lowest := math.Inf(1)
	for _, l := range f.memoryLines() {
		for _, p := range l.Points {
			if p.X >= from && p.X <= to && !math.IsNaN(p.Y) {
				lowest = min(lowest, p.Y)
			}
		}
	}
	if math.IsInf(lowest, 1) {
		return 0
	}
	return math.Floor(lowest*20-0.5) / 20
}

func (f *figures) answers() Figure {
	c := f.frame("Answers of the payment service each second in both arms")
	series := func(name string) (points []chart.Point) {
		a := f.in.Arms[name]
		counts := make([]int, int(math.Ceil(f.to-f.from)))
		for _, answer := range f.in.Answers[name] {
			if i := int(math.Floor(a.Seconds(answer.Done()) - f.from)); answer.OK && answer.Service == recording.Payment && i >= 0 && i < len(counts) {
				counts[i]++
			}
		}
		for i, n := range counts {
			points = append(points, chart.Point{X: f.from + float64(i) + 0.5, Y: float64(n)})
		}
		return points
	}
	c.Lines = []chart.Line{
		{Label: "without", Class: "without", Points: series(recording.Without)},
		{Label: "with Reflex", Class: "with", Points: series(recording.With)},
	}
	return Figure{
		"Answers of the payment service per second",
		"Right answers within their deadline, as the client counts them. It asks on a fixed schedule whatever the answers do; a killed service is not restarted.",
		c.SVG(),
	}
}

func (f *figures) latency() Figure {
	const length = 5 * time.Second
	c := f.frame("99th percentile of the neighbour's latency in both arms")
	c.Value = func(v float64) string { return plain(v) + " ms" }
	series := func(name string) (points []chart.Point) {
		a := f.in.Arms[name]
		for i, p99 := range windows(f.in.Answers[name], recording.Neighbour, a.Calm, a.End, length) {
			points = append(points, chart.Point{X: a.Seconds(a.Calm) + (float64(i)+0.5)*length.Seconds(), Y: p99})
		}
		return points
	}
	c.Lines = []chart.Line{
		{Label: "without", Class: "without", Points: series(recording.Without)},
		{Label: "with Reflex", Class: "with", Points: series(recording.With)},
	}
	c.Rules = append(c.Rules, chart.Rule{At: f.r.NeighbourP99Baseline, Class: "limit", Label: "baseline"})
	return Figure{
		"Latency of the neighbour",
		"The 99th percentile over five seconds. The neighbour is innocent: it must feel neither the leak nor the cure.",
		c.SVG(),
	}
}
