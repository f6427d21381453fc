// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/otelcol-reflex/reflex/test/demo/report"
)

// The files of a report.
const (
	DataFile = "report.json"
	TextFile = "report.md"
)

// Report is report.json.
type Report struct {
	// Kernel and Revision say what was played where.
	Kernel   string `json:"kernel"`
	Revision string `json:"revision"`
	// Host is how busy the machine under the virtual one was.
	Host string `json:"host"`
	// Runs is how often each scenario was meant to be played.
	Runs       int       `json:"runs"`
	Scenarios  []Outcome `json:"scenarios"`
	TickToKnob []Arc     `json:"tick_to_knob"`
	// Crash is what the crash matrix found; null where it was not played, as with
	// some scenarios only.
	Crash *Crash `json:"crash"`
	// Broken lists what makes the suite fail, Trouble what makes it worth less.
	Broken  []string `json:"broken"`
	Trouble []string `json:"trouble"`
	Passed  bool     `json:"passed"`
}

// Outcome is one scenario over all runs.
type Outcome struct {
	Name  string `json:"name"`
	About string `json:"about"`
	Guard string `json:"guard"`
	// Expected is "contained" or "untouched".
	Expected string `json:"expected"`
	Required bool   `json:"required"`
	Runs     int    `json:"runs"`
	// Contained is in how many runs all the guilty were.
	Contained        int   `json:"contained"`
	OnsetToContained Times `json:"onset_to_contained_s"`
	// InnocentUntouched says that nobody innocent was touched in any run;
	// InnocentTouched is in how many runs somebody was.
	InnocentUntouched bool `json:"innocent_untouched"`
	InnocentTouched   int  `json:"innocent_touched"`
	// By, Touched, Declined and Killed are the different ones over all runs.
	By       []string `json:"by"`
	Touched  []string `json:"touched"`
	Declined []string `json:"declined"`
	Killed   []string `json:"killed"`
	// Neighbour is the median over the runs.
	Neighbour *Neighbour `json:"neighbour"`
}

// Times are quantiles in seconds; null where nothing was measured.
type Times struct {
	P50 *float64 `json:"p50"`
	// P95 is the 95th percentile over 20 runs or more, and below that the maximum;
	// P95Is says which.
	P95   *float64 `json:"p95"`
	P95Is string   `json:"p95_is,omitempty"`
}

// enoughRuns is from how many runs on a 95th percentile is one.
const enoughRuns = 20

// Arc is tick to knob under one condition.
type Arc struct {
	Condition string  `json:"condition"`
	Guard     string  `json:"guard"`
	Samples   int     `json:"samples"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	// SentP50 and SentP99 are from the tick to when the order was sent to the guard.
	SentP50  float64 `json:"sent_p50_ms"`
	SentP99  float64 `json:"sent_p99_ms"`
	TimerP50 float64 `json:"timer_p50_ms"`
	TimerP99 float64 `json:"timer_p99_ms"`
	// WithinBudget says that P99 is at most three times TimerP99.
	WithinBudget bool `json:"within_budget"`
}

// calmest is the condition that the others are held against: they may have so many
// times its p99.
const (
	calmest = "idle"
	worse   = 3
)

// idle returns the p99 of tick to knob while the node is idle, 0 where it is not known.
func (r *Report) idle(guard string) float64 {
	for i := range r.TickToKnob {
		if a := &r.TickToKnob[i]; a.Guard == guard && a.Condition == calmest {
			return a.P99
		}
	}
	return 0
}

// enoughSamples is how many the budget of tick to knob is for.
const enoughSamples = 1000

// budget is how many times the lateness of a 10 ms timer the arc may take.
const budget = 3

// Crash is what the crash matrix found.
type Crash struct {
	// Steps are the simulated ones, Kills the real ones in a virtual machine.
	Steps int `json:"steps"`
	Kills int `json:"kills"`
	// Violations are those of both, Missed the steps of the real ones that were not
	// reached.
	Violations int `json:"violations"`
	Missed     int `json:"missed"`
}

// mostMissed is the share of real kills, one in so many, that may miss their step.
const mostMissed = 10

// Crashed adds what the crash matrix found.
func (r *Report) Crashed(c *Crash) {
	r.Crash = c
	if c.Violations > 0 {
		r.Broken, r.Passed = append(r.Broken, fmt.Sprintf("crash matrix: %d violations in %d simulated steps and %d kills", c.Violations, c.Steps, c.Kills)), false
	}
	if c.Missed > c.Kills/mostMissed {
		r.Broken, r.Passed = append(r.Broken, fmt.Sprintf("crash matrix: %d steps of %d kills were not reached", c.Missed, c.Kills)), false
	}
}

// Analyse makes the report of what the machines told.
func Analyse(scenarios []Scenario, trials []Trial, ticks []Ticks) *Report {
	r := &Report{Scenarios: []Outcome{}, TickToKnob: []Arc{}, Broken: []string{}, Trouble: []string{}}
	for _, guard := range []string{Separate, Embedded} {
		for i := range scenarios {
			s := &scenarios[i]
			var of []Trial
			for _, t := range trials {
				switch {
				case t.Scenario != s.Name || t.Guard != guard:
				case t.Failed != "":
					r.Broken = append(r.Broken, fmt.Sprintf("%s could not be played (guard: %s): %s", s.Name, guard, t.Failed))
				default:
					of = append(of, t)
				}
			}
			if len(of) > 0 {
				r.outcome(s, guard, of)
			}
		}
	}
	r.arcs(ticks)
	for _, t := range trials {
		for _, trouble := range t.Trouble {
			r.Trouble = append(r.Trouble, t.Scenario+": "+trouble)
		}
	}
	r.Passed = len(r.Broken) == 0
	return r
}

// The places of the guard.
const (
	Separate = "separate"
	Embedded = "embedded"
)

func (r *Report) outcome(s *Scenario, guard string, trials []Trial) {
	o := Outcome{Name: s.Name, About: s.About, Guard: guard, Expected: "contained", Required: s.Required, Runs: len(trials)}
	if s.Innocent() {
		o.Expected, o.Required = "untouched", !s.FalsePositives
	}
	var times []float64
	for _, t := range trials {
		switch {
		case t.Contained == 0 || s.Innocent():
		case s.Relieves && !t.relieved():
			r.Trouble = append(r.Trouble, s.Name+": contained, and the neighbour is no better off for it")
		default:
			o.Contained++
			times = append(times, float64(t.Contained-t.Onset)/1e9)
		}
		if len(t.Touched) > 0 {
			o.InnocentTouched++
		}
		for _, list := range []struct {
			into *[]string
			from []string
		}{{&o.By, t.By}, {&o.Touched, t.Touched}, {&o.Declined, t.Declined}, {&o.Killed, t.Killed}} {
			*list.into = distinct(*list.into, list.from)
		}
	}
	o.InnocentUntouched = o.InnocentTouched == 0
	o.OnsetToContained = quantiles(times)
	o.Neighbour = medians(trials)
	name := s.Name
	if guard != Separate {
		name += " (guard: " + guard + ")"
	}
	if !o.InnocentUntouched && !s.FalsePositives {
		r.Broken = append(r.Broken, fmt.Sprintf("%s: somebody innocent was touched in %d of %d runs: %s", name, o.InnocentTouched, o.Runs, o.Touched[0]))
	}
	if p95 := o.OnsetToContained.P95; p95 != nil && s.Budget > 0 && *p95 > s.Budget.Seconds() {
		text := fmt.Sprintf("%s: onset to contained took %.2f s (%s), of a budget of %.2f s for the 95th percentile", name, *p95, o.OnsetToContained.P95Is, s.Budget.Seconds())
		if len(times) < enoughRuns {
			r.Trouble = append(r.Trouble, text)
		} else {
			r.Broken = append(r.Broken, text)
		}
	}
	if s.Required && o.Contained < o.Runs {
		r.Broken = append(r.Broken, fmt.Sprintf("%s: contained in %d of %d runs", name, o.Contained, o.Runs))
	}
	r.Scenarios = append(r.Scenarios, o)
}

func (r *Report) arcs(ticks []Ticks) {
	type key struct{ guard, condition string }
	var keys []key
	samples, sent, timers := map[key][]float64{}, map[key][]float64{}, map[key][]Ticks{}
	for _, t := range ticks {
		k := key{t.Guard, t.Condition}
		if timers[k] == nil {
			keys = append(keys, k)
		}
		samples[k], sent[k] = append(samples[k], t.Samples...), append(sent[k], t.Sent...)
		timers[k] = append(timers[k], t)
		for _, trouble := range t.Trouble {
			r.Trouble = append(r.Trouble, fmt.Sprintf("tick to knob, %s, %s: %s", t.Condition, t.Guard, trouble))
		}
	}
	for _, k := range keys {
		a := Arc{Condition: k.condition, Guard: k.guard, Samples: len(samples[k])}
		for _, t := range timers[k] {
			a.TimerP50, a.TimerP99 = max(a.TimerP50, t.TimerP50), max(a.TimerP99, t.TimerP99)
		}
		if len(sent[k]) > 0 {
			a.SentP50, a.SentP99 = report.Percentile(sent[k], 0.5), report.Percentile(sent[k], 0.99)
		}
		if a.Samples > 0 {
			a.P50, a.P99 = report.Percentile(samples[k], 0.5), report.Percentile(samples[k], 0.99)
			a.WithinBudget = a.P99 <= budget*a.TimerP99
		}
		// Under emulation the arc's own computing takes longer than its budget, which is
		// of a timer that computes nothing (docs/containment.md). What is demanded there is
		// that load, and a backend that hangs, make it no worse.
		if !a.WithinBudget {
			r.Trouble = append(r.Trouble, fmt.Sprintf("tick to knob, %s (guard: %s): over its budget, p99 of %.1f ms, and the timer's is %.1f ms", k.condition, k.guard, a.P99, a.TimerP99))
		}
		if a.Samples == 0 || k.condition != calmest && a.P99 > worse*r.idle(k.guard) {
			r.Broken = append(r.Broken, fmt.Sprintf("tick to knob, %s (guard: %s): p99 of %.1f ms, and %.1f ms when the node is idle", k.condition, k.guard, a.P99, r.idle(k.guard)))
		}
		if a.Samples < enoughSamples {
			r.Trouble = append(r.Trouble, fmt.Sprintf("tick to knob, %s (guard: %s): %d samples, of %d that its budget is for", k.condition, k.guard, a.Samples, enoughSamples))
		}
		r.TickToKnob = append(r.TickToKnob, a)
	}
}

// quantiles sums up times in seconds.
func quantiles(times []float64) (t Times) {
	if len(times) == 0 {
		return t
	}
	middle, high := report.Percentile(times, 0.5), report.Percentile(times, 0.95)
	t.P50, t.P95, t.P95Is = &middle, &high, "p95"
	if len(times) < enoughRuns {
		high, t.P95Is = slices.Max(times), "maximum"
	}
	return t
}

// medians is how the neighbour fared, over the runs that know.
func medians(trials []Trial) *Neighbour {
	var known []Neighbour
	for _, t := range trials {
		if t.Neighbour != nil {
			known = append(known, *t.Neighbour)
		}
	}
	if len(known) == 0 {
		return nil
	}
	middle := func(of func(*Neighbour) float64) float64 {
		values := make([]float64, len(known))
		for i := range known {
			values[i] = of(&known[i])
		}
		return report.Percentile(values, 0.5)
	}
	m := &Neighbour{
		CalmP99:       middle(func(n *Neighbour) float64 { return n.CalmP99 }),
		FaultP99:      middle(func(n *Neighbour) float64 { return n.FaultP99 }),
		CalmAnswered:  middle(func(n *Neighbour) float64 { return n.CalmAnswered }),
		FaultAnswered: middle(func(n *Neighbour) float64 { return n.FaultAnswered }),
	}
	known = slices.DeleteFunc(known, func(n Neighbour) bool { return n.Held == nil })
	if len(known) > 0 {
		m.Loose = &Fare{middle(func(n *Neighbour) float64 { return n.Loose.P99 }), middle(func(n *Neighbour) float64 { return n.Loose.Answered })}
		m.Held = &Fare{middle(func(n *Neighbour) float64 { return n.Held.P99 }), middle(func(n *Neighbour) float64 { return n.Held.Answered })}
	}
	return m
}

// distinct adds what is new.
func distinct(have, more []string) []string {
	for _, m := range more {
		if !slices.Contains(have, m) {
			have = append(have, m)
		}
	}
	slices.SortStableFunc(have, cmp.Compare[string])
	return have
}

// Write writes the report's files into dir.
func (r *Report) Write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, DataFile), append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, TextFile), []byte(r.Markdown()), 0o644)
}
