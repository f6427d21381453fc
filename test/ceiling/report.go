// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// Report is what came of it all.
type Report struct {
	Kernel   string    `json:"kernel"`
	Revision string    `json:"revision"`
	Host     string    `json:"host"`
	Load     Load      `json:"load"`
	Outcomes []Outcome `json:"outcomes"`
	Machines []Machine `json:"machines"`
	Checks   []Check   `json:"checks"`
	Passed   bool      `json:"passed"`
	Trouble  []string  `json:"trouble"`
}

// Machine is what an arm asked of its machine.
type Machine struct {
	Arm      string  `json:"arm"`
	Busy     float64 `json:"busy"`
	CPUs     int     `json:"cpus"`
	Lateness float64 `json:"lateness_p99_ms"`
}

// Outcome is one service over the time for which its arm watches it. Times are in
// seconds from the onset, null for what did not happen.
type Outcome struct {
	Arm      string  `json:"arm"`
	Hold     string  `json:"hold"`
	Leak     string  `json:"leak"`
	BuyTime  float64 `json:"buy_time_s,omitempty"`
	Watched  float64 `json:"watched_s"`
	Survival float64 `json:"survival_s"`
	Died     bool    `json:"died"`
	// Answers are those that came before the end, however late, InTime those within
	// a second of when the request was due. Rate is answers a second of survival,
	// CalmRate those before the onset, Gap the longest time without an answer.
	Answers  int     `json:"answers"`
	InTime   int     `json:"answers_in_time"`
	Rate     float64 `json:"answers_per_s"`
	CalmRate float64 `json:"calm_answers_per_s"`
	Gap      float64 `json:"longest_gap_s"`
	// Leaked is in bytes, Start where the limit began.
	Leaked  uint64   `json:"leaked"`
	Start   uint64   `json:"start"`
	Held    *float64 `json:"held_s"`
	Ended   *float64 `json:"announced_s"`
	Reason  string   `json:"announced,omitempty"`
	CPUCalm float64  `json:"cpu_calm"`
	CPULeak float64  `json:"cpu_leak"`
	Full    float64  `json:"pressure_full"`
}

// Check is one demand.
type Check struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Got  string `json:"got"`
	OK   bool   `json:"ok"`
}

// Played is one arm as it was played.
type Played struct {
	Arm       Arm
	Recording Recording
	Answers   []recording.Answer
}

// Analyse makes the report.
func Analyse(load Load, played []Played) *Report {
	r := &Report{Load: load, Trouble: []string{}}
	for i := range played {
		p := &played[i]
		for k := range p.Recording.Services {
			s := &p.Recording.Services[k]
			if s.Onset == 0 {
				r.Trouble = append(r.Trouble, fmt.Sprintf("%s: %s never began to leak", p.Arm.Name, s.Name))
				continue
			}
			r.Outcomes = append(r.Outcomes, outcome(p, s))
		}
		for _, t := range p.Recording.Trouble {
			r.Trouble = append(r.Trouble, p.Arm.Name+": "+t)
		}
		r.Machines = append(r.Machines, Machine{p.Arm.Name, p.Recording.Busy, p.Recording.CPUs, p.Recording.Lateness})
	}
	r.check()
	return r
}

// outcome is that of one service.
func outcome(p *Played, s *Service) Outcome {
	end := s.Onset + int64(p.Arm.For)
	o := Outcome{
		Arm: p.Arm.Name, Hold: s.Hold, Leak: s.Leak, Watched: p.Arm.For.Seconds(),
		Start: s.High, CPUCalm: s.CPUCalm, CPULeak: s.CPULeak, Full: s.Full,
	}
	if s.Hold == Ceiling {
		o.BuyTime = p.Arm.Buy.Seconds()
	}
	if s.Died != 0 && s.Died < end {
		end, o.Died = s.Died, true
	}
	since := func(t int64) float64 { return time.Duration(t - s.Onset).Seconds() }
	o.Survival = since(end)
	if s.Held != 0 {
		at := since(s.Held)
		o.Held = &at
	}
	for _, a := range s.Announced {
		if a.Time <= end && o.Ended == nil {
			at := since(a.Time)
			o.Ended, o.Reason = &at, a.Reason
		}
	}
	for _, m := range s.Samples {
		if m.Time <= end && m.Usage > s.Resident+o.Leaked {
			o.Leaked = m.Usage - s.Resident
		}
	}
	o.count(p.Answers, s, end)
	return o
}

// calmFor is how long before the onset answers count for the calm rate.
const calmFor = 30 * time.Second

// count counts answers. They are in the order in which they came.
func (o *Outcome) count(answers []recording.Answer, s *Service, end int64) {
	last, gap, calm := s.Onset, int64(0), 0
	for _, a := range answers {
		at := a.Done()
		switch {
		case a.Service != s.Name || !a.OK || at > end:
			continue
		case at < s.Onset:
			if at >= s.Onset-int64(calmFor) {
				calm++
			}
			continue
		}
		o.Answers++
		if a.Latency <= int64(time.Second) {
			o.InTime++
		}
		last, gap = max(last, at), max(gap, at-last)
	}
	o.Gap = time.Duration(max(gap, end-last)).Seconds()
	o.CalmRate = float64(calm) / calmFor.Seconds()
	if o.Survival > 0 {
		o.Rate = float64(o.Answers) / o.Survival
	}
}

// Outcome returns that of an arm's service, or nil.
func (r *Report) Outcome(arm, hold, leak string) *Outcome {
	for i := range r.Outcomes {
		if o := &r.Outcomes[i]; o.Arm == arm && o.Hold == hold && o.Leak == leak {
			return o
		}
	}
	return nil
}

// The files of a report.
const (
	File     = "report.json"
	TextFile = "report.md"
	PageFile = "report.html"
)

// Write writes the report to dir, with drawings of what was played.
func (r *Report) Write(dir string, played []Played) error {
	if err := recording.WriteJSON(dir, File, r); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, TextFile), []byte(r.Markdown()), 0o644); err != nil {
		return err
	}
	page, err := os.Create(filepath.Join(dir, PageFile))
	if err != nil {
		return err
	}
	defer page.Close()
	if err := r.page(page, played); err != nil {
		return err
	}
	return page.Close()
}
