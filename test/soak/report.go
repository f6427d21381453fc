// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// Report is what a soak came to.
type Report struct {
	Recordings []RecordingFigures `json:"recordings"`
	Recorded   HealthyFigures     `json:"recorded"`
	Recombined HealthyFigures     `json:"recombined"`
	Faults     []FaultFigures     `json:"faults"`
	// Speed is how many seconds of a machine were soaked in a second, all workers
	// together, reading and faults included.
	Speed  float64 `json:"times_real_time"`
	Took   float64 `json:"took_s"`
	Passed bool    `json:"passed"`
	// Failures are the promises that were broken.
	Failures []string `json:"failures"`
	Trials   []Trial  `json:"trials"`

	mu                   sync.Mutex
	recorded, recombined Tally
	faults               map[string][]Trial
	places               int // trials for which there was no place
}

// RecordingFigures is one recording.
type RecordingFigures struct {
	Name    string  `json:"name"`
	Kernel  string  `json:"kernel"`
	Hours   float64 `json:"hours"`
	Ticks   int     `json:"ticks"`
	Cgroups int     `json:"cgroups_at_most"`
	Bytes   int64   `json:"bytes"`
	// Missed is the share of ticks that were not taken, Blind that of the time in
	// which the policy held still for it.
	Missed float64 `json:"missed"`
	Blind  float64 `json:"blind"`
}

// HealthyFigures are those of healthy machines.
type HealthyFigures struct {
	Hours float64 `json:"hours"`
	Ready float64 `json:"hours_judged"`
	// Levels are how often each level was reached from below.
	Levels []LevelFigures `json:"levels"`
	// Contained counts leases ordered, on whatever level; AtStart is how many of them
	// were while the engine had learned for less than [beginning].
	Contained Rate           `json:"contained"`
	AtStart   int            `json:"contained_at_start"`
	Seams     int            `json:"seams,omitempty"`
	JumpP50   float64        `json:"seam_jump_p50_bytes,omitempty"`
	JumpMax   float64        `json:"seam_jump_max_bytes,omitempty"`
	Declined  map[string]int `json:"declined"`
	Incidents []Incident     `json:"incidents"`
}

// LevelFigures are those of one level; what was reached within seconds after a seam
// is in AtSeams and not in Rate.
type LevelFigures struct {
	Level   int  `json:"level"`
	Rate    Rate `json:"rate"`
	AtSeams int  `json:"at_seams"`
	// Share of the time was spent at the level or above it.
	Share float64 `json:"share_of_time"`
}

// FaultFigures are those of one fault.
type FaultFigures struct {
	Fault
	Runs int `json:"runs"`
	// Seen counts runs in which level 1 was in force before the limit was met, of
	// which Already had it before the onset.
	Seen      int            `json:"seen"`
	Already   int            `json:"already_watchful"`
	Contained int            `json:"contained"`
	Spent     int            `json:"limit_met"`
	Innocent  int            `json:"innocent_contained"`
	SeenS     Delays         `json:"onset_to_seen_s"`
	ContainS  Delays         `json:"onset_to_contained_s"`
	Declined  map[string]int `json:"declined"`
}

// Delays are quantiles in seconds.
type Delays struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
}

// leastContained is the share of a promised fault's runs that have to be contained.
const leastContained = 0.9

// mostBlind is the share of time in which the policy may hold still because ticks
// are missing: a recording full of gaps says nothing.
const mostBlind = 0.02

// beginning is for how long a collector that starts without anything learned knows
// too little to be held to it: whoever installs it observes first
// (docs/operations.md).
const beginning = 10 * time.Minute

func newReport() *Report { return &Report{faults: map[string][]Trial{}} }

func (r *Report) recording(t *Tape) {
	r.Recordings = append(r.Recordings, RecordingFigures{
		Name: t.Name, Kernel: t.Kernel, Hours: t.Span().Hours(), Ticks: len(t.Ticks), Cgroups: t.Cgroups(), Bytes: t.Bytes, Missed: t.Missed(),
	})
}

// replayed counts the last recording, played as it is.
func (r *Report) replayed(one *Tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recorded.add(one)
	r.Recordings[len(r.Recordings)-1].Blind = one.Blind.Seconds() / one.Time.Seconds()
}

func (r *Report) recombination(one *Tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recombined.add(one)
}

func (r *Report) trial(f Fault, t *Trial) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t == nil {
		r.places++
		return
	}
	r.faults[f.Name] = append(r.faults[f.Name], *t)
}

// conclude makes figures of what was counted, and a verdict.
func (r *Report) conclude(took time.Duration) {
	r.Recorded, r.Recombined = r.recorded.figures(), r.recombined.figures()
	healthy := r.recorded.Time + r.recombined.Time
	r.Took = took.Seconds()
	r.Speed = healthy.Seconds() / r.Took
	for _, f := range Faults() {
		r.Faults = append(r.Faults, figuresOf(f, r.faults[f.Name]))
		r.Trials = append(r.Trials, r.faults[f.Name]...)
	}
	r.Failures = []string{}
	for _, t := range r.Recordings {
		if t.Blind > mostBlind {
			r.Failures = append(r.Failures, fmt.Sprintf("%s: for %.0f %% of its time too many ticks are missing, %.0f %% may be: record while nothing else runs", t.Name, 100*t.Blind, 100*mostBlind))
		}
	}
	if n := r.recorded.touched(); n > 0 {
		r.Failures = append(r.Failures, fmt.Sprintf("healthy machines, as recorded: level 2 or a lease %d times; none is allowed", n))
	}
	if n := r.Recombined.Contained.Count - r.Recombined.AtStart; n > 0 {
		r.Failures = append(r.Failures, fmt.Sprintf("healthy machines, recombined: %d leases after the first %v of a stream; none is allowed", n, beginning))
	}
	for _, f := range r.Faults {
		if f.Wanted && f.Runs > 0 && float64(f.Contained) < leastContained*float64(f.Runs) {
			r.Failures = append(r.Failures, fmt.Sprintf("%s: %d of %d runs contained, %.0f %% are promised", f.Name, f.Contained, f.Runs, 100*leastContained))
		}
		if f.Wanted && f.Runs == 0 {
			r.Failures = append(r.Failures, f.Name+": no run, so that silence may be blindness")
		}
	}
	r.Passed = len(r.Failures) == 0
}

// touched is how often a machine that was healthy was acted upon, or would have
// been.
func (t *Tally) touched() int {
	n := 0
	for _, k := range t.Reached[2:] {
		n += k
	}
	return max(n, len(t.Incidents))
}

func (t *Tally) figures() HealthyFigures {
	f := HealthyFigures{
		Hours: t.Time.Hours(), Ready: t.Ready.Hours(), Seams: t.Seams, Declined: t.Declined, Incidents: t.Incidents,
		Contained: NewRate(len(t.Incidents), t.Time),
	}
	for i := range t.Incidents {
		f.AtStart += one(t.Incidents[i].At < beginning)
	}
	for level := 1; level < maxLevels; level++ {
		f.Levels = append(f.Levels, LevelFigures{
			level, NewRate(t.Reached[level]-t.AtSeams[level], t.Time), t.AtSeams[level],
			t.Spent[level].Seconds() / max(t.Time.Seconds(), 1),
		})
	}
	if len(t.Jumps) > 0 {
		slices.Sort(t.Jumps)
		f.JumpP50, f.JumpMax = t.Jumps[len(t.Jumps)/2], t.Jumps[len(t.Jumps)-1]
	}
	return f
}

func figuresOf(f Fault, trials []Trial) FaultFigures {
	figures := FaultFigures{Fault: f, Runs: len(trials), Declined: map[string]int{}}
	var seen, contained []time.Duration
	for _, t := range trials {
		if t.Seen >= 0 {
			figures.Seen++
			if !t.Already {
				seen = append(seen, t.Seen)
			}
		}
		if t.Contained >= 0 {
			contained = append(contained, t.Contained)
		} else if t.Declined != "" {
			figures.Declined[t.Declined]++
		}
		figures.Already += one(t.Already)
		figures.Spent += one(t.Spent)
		figures.Innocent += one(t.Innocent != "")
	}
	figures.Contained = len(contained)
	figures.SeenS, figures.ContainS = delays(seen), delays(contained)
	return figures
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// delays are nearest-rank quantiles.
func delays(d []time.Duration) Delays {
	if len(d) == 0 {
		return Delays{}
	}
	slices.Sort(d)
	at := func(p int) float64 { return d[(len(d)*p+99)/100-1].Seconds() }
	return Delays{at(50), at(95), at(100)}
}

// Write writes report.json into a directory and returns its path.
func (r *Report) Write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the report: %w", err)
	}
	path := filepath.Join(dir, "report.json")
	return path, os.WriteFile(path, append(text, '\n'), 0o644)
}

// Table writes the figures for people.
func (r *Report) Table(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "healthy machines\thours\tlevel\treached\ta node-week\t95 % upper bound\tat seams\tshare of time")
	for _, h := range []struct {
		name string
		f    *HealthyFigures
	}{{"as recorded", &r.Recorded}, {"recombined", &r.Recombined}} {
		for _, l := range h.f.Levels[:2] {
			fmt.Fprintf(w, "%s\t%.2f\t≥ %d\t%d\t%.3g\t%.3g\t%d\t%.2g %%\n", h.name, h.f.Hours, l.Level, l.Rate.Count, l.Rate.Week, l.Rate.Bound, l.AtSeams, 100*l.Share)
		}
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "faults spliced in\truns\tseen\tafter p50\tp95\tcontained\tafter p50\tp95\tmax\tinnocents")
	for _, f := range r.Faults {
		fmt.Fprintf(w, "%s\t%d\t%d\t%.2f s\t%.2f s\t%d\t%.2f s\t%.2f s\t%.2f s\t%d\n",
			f.Name, f.Runs, f.Seen, f.SeenS.P50, f.SeenS.P95, f.Contained, f.ContainS.P50, f.ContainS.P95, f.ContainS.Max, f.Innocent)
	}
	_ = w.Flush() // to a terminal
	fmt.Fprintf(to, "\nleases on healthy cgroups: as recorded %d, recombined %d (%.3g a node-week, at most %.3g with 95 %% confidence), %d of them in the first %v of a stream\n",
		r.Recorded.Contained.Count, r.Recombined.Contained.Count, r.Recombined.Contained.Week, r.Recombined.Contained.Bound, r.Recombined.AtStart, beginning)
	tell(to, "as recorded", r.Recorded.Incidents)
	tell(to, "recombined", r.Recombined.Incidents)
	fmt.Fprintf(to, "\n%.0f × real time, %.0f s\n", r.Speed, r.Took)
	for _, f := range r.Failures {
		fmt.Fprintln(to, "FAILED:", f)
	}
}

// tell tells incidents, those of one cgroup at one place of a recording once: blocks
// come again and again.
func tell(to io.Writer, how string, incidents []Incident) {
	type place struct {
		tape, path, action string
		minute             time.Duration
	}
	times := map[place]int{}
	of := func(in Incident) place { return place{in.Tape, in.Path, in.Action, in.Recorded / time.Minute} }
	for _, in := range incidents {
		times[of(in)]++
	}
	for _, in := range incidents {
		n := times[of(in)]
		if n == 0 {
			continue // told
		}
		times[of(in)] = 0
		fmt.Fprintf(to, "\n%s, %s: level %d, %s of %s, %d ×; first in stream %d after %v, recorded at %v: %s",
			how, in.Tape, in.Level, in.Action, in.Path, n, in.Stream, in.At.Round(time.Second), in.Recorded.Round(time.Second), in.Reason)
	}
	if len(incidents) > 0 {
		fmt.Fprintln(to)
	}
}
