// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import (
	_ "embed"
	"html/template"
	"io"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/chart"
)

//go:embed page.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// figure is one drawing.
type figure struct {
	Title   string
	Drawing template.HTML
}

// page writes the report as a page with drawings.
func (r *Report) page(w io.Writer, played []Played) error {
	var figures []figure
	for i := range played {
		for _, leak := range played[i].Arm.Leaks {
			title := played[i].Arm.Name + ", leak in a thread of its own"
			if leak == Request {
				title = played[i].Arm.Name + ", leak in each request"
			}
			figures = append(figures, figure{title + ": answers a second", answerChart(&played[i], leak)},
				figure{title + ": memory in MB", memoryChart(&played[i], leak, float64(r.Load.Limit))})
		}
	}
	return pageTemplate.Execute(w, struct {
		*Report
		Text    string
		Figures []figure
	}{r, r.Markdown(), figures})
}

// bin is the width in which answers are counted.
const bin = 5 * time.Second

// answerChart draws the answers a second of the services with a leak.
func answerChart(p *Played, leak string) template.HTML {
	c := chart.Chart{Label: "Answers a second", From: 0, To: p.Arm.For.Seconds()}
	for i := range p.Recording.Services {
		s := &p.Recording.Services[i]
		if s.Leak != leak || s.Onset == 0 {
			continue
		}
		bins := make([]int, int(p.Arm.For/bin)+1)
		for _, a := range p.Answers {
			if at := a.Done() - s.Onset; a.Service == s.Name && a.OK && at >= 0 && at < int64(p.Arm.For) {
				bins[at/int64(bin)]++
			}
		}
		line := chart.Line{Label: s.Hold, Class: s.Hold, Step: true}
		for k, n := range bins {
			line.Points = append(line.Points, chart.Point{X: float64(k) * bin.Seconds(), Y: float64(n) / bin.Seconds()})
		}
		c.Lines = append(c.Lines, line)
		c.Rules = append(c.Rules, announcements(s)...)
	}
	return c.SVG()
}

// memoryChart draws usage, and the limits that hold it.
func memoryChart(p *Played, leak string, limit float64) template.HTML {
	c := chart.Chart{Label: "Memory in MB", From: 0, To: p.Arm.For.Seconds(), Rules: []chart.Rule{{At: limit / 1e6, Class: "limit", Label: "memory.max"}}}
	for i := range p.Recording.Services {
		s := &p.Recording.Services[i]
		if s.Leak != leak || s.Onset == 0 {
			continue
		}
		used, high := chart.Line{Label: s.Hold, Class: s.Hold}, chart.Line{Label: "its memory.high", Class: "high " + s.Hold, Step: true}
		for _, m := range s.Samples {
			x := time.Duration(m.Time - s.Onset).Seconds()
			used.Points = append(used.Points, chart.Point{X: x, Y: float64(m.Usage) / 1e6})
			if m.High < Unlimited {
				high.Points = append(high.Points, chart.Point{X: x, Y: float64(m.High) / 1e6})
			}
		}
		c.Lines = append(c.Lines, used)
		if len(high.Points) > 0 {
			c.Lines = append(c.Lines, high)
		}
		c.Rules = append(c.Rules, announcements(s)...)
	}
	return c.SVG()
}

func announcements(s *Service) (rules []chart.Rule) {
	for _, a := range s.Announced {
		rules = append(rules, chart.Rule{At: time.Duration(a.Time - s.Onset).Seconds(), Vertical: true, Class: "ending", Label: "its ending is announced"})
	}
	return rules
}
