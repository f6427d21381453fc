// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"cmp"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// Observed is the report of observe mode.
type Observed struct {
	// From and To bound what was looked at; Short says that the journal does not
	// reach back to what was asked for.
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Short    bool      `json:"short"`
	Episodes int       `json:"episodes"`
	// Acted is how often Reflex did act in that time.
	Acted int     `json:"acted"`
	Would []Would `json:"would_have_acted"`
	// Declined counts why nothing would have been done, most frequent first.
	Declined []Because `json:"declined"`
}

// Would is what would have been done to one cgroup.
type Would struct {
	Path   string `json:"path"`
	Cgroup uint64 `json:"cgroup"`
	Action string `json:"action"`
	Times  int    `json:"times"`
	// Total and Longest are in seconds. What is not over lasts until now.
	Total   float64   `json:"total"`
	Longest float64   `json:"longest"`
	Last    time.Time `json:"last"`
	Why     string    `json:"why"` // of the last
}

// Because is why nothing would have been done, and how often.
type Because struct {
	Cause string `json:"cause"`
	Times int    `json:"times"`
}

// WouldHaveDone reports what observing would have done within since of now.
func WouldHaveDone(records []episode.Record, now time.Time, since time.Duration) Observed {
	return Observe(All(records), records, now, since)
}

// Observe is [WouldHaveDone] where the records are put together already.
func Observe(stories []*Story, records []episode.Record, now time.Time, since time.Duration) Observed {
	r := Observed{From: now.Add(-since), To: now, Would: []Would{}, Declined: []Because{}}
	switch {
	case len(records) == 0:
		r.Short = true // since the collector's start, which is not known here
	case records[0].Time.After(r.From): // what was before may have left it, or never have been
		r.From, r.Short = records[0].Time, true
	}
	for _, s := range stories {
		if s.Closed != nil && s.Closed.Before(r.From) {
			continue
		}
		r.Episodes++
		for i := range s.Deeds {
			r.count(&s.Deeds[i])
		}
	}
	causes := map[string]int{}
	for i := range records {
		if rec := &records[i]; !rec.Time.Before(r.From) && rec.Kind == episode.Action && rec.Outcome != nil && rec.Outcome.Verdict == arc.VerdictRefused {
			causes[rec.Outcome.Cause]++
		}
	}
	for cause, n := range causes {
		r.Declined = append(r.Declined, Because{cause, n})
	}
	slices.SortFunc(r.Declined, func(a, b Because) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Cause, b.Cause))
	})
	slices.SortFunc(r.Would, func(a, b Would) int {
		return cmp.Or(cmp.Compare(b.Times, a.Times), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Action, b.Action))
	})
	return r
}

func (r *Observed) count(d *Deed) {
	end := d.until(r.To)
	if end.Before(r.From) {
		return
	}
	if !d.Observed {
		r.Acted++
		return
	}
	began := d.Began
	if began.Before(r.From) {
		began = r.From
	}
	i := slices.IndexFunc(r.Would, func(w Would) bool { return w.Path == d.Path && w.Action == d.Action })
	if i < 0 {
		i = len(r.Would)
		r.Would = append(r.Would, Would{Path: d.Path, Action: d.Action})
	}
	w, lasted := &r.Would[i], max(end.Sub(began), 0).Seconds()
	w.Times++
	w.Total += lasted
	w.Longest = max(w.Longest, lasted)
	if !d.Began.Before(w.Last) {
		w.Last, w.Why, w.Cgroup = d.Began, d.Why, d.Cgroup
	}
}

const clockOfDay = "2006-01-02 15:04:05"

// Times is how often Reflex would have acted.
func (r *Observed) Times() int {
	n := 0
	for i := range r.Would {
		n += r.Would[i].Times
	}
	return n
}

// Tell sums the report up for people.
func (r *Observed) Tell() Prose {
	var p Prose
	p.Say("From %s to %s: %d episodes.", r.From.Local().Format(clockOfDay), r.To.Local().Format(clockOfDay), r.Episodes)
	if r.Short {
		p.Add(" The journal reaches no further back: it is bounded, and begins with the collector where it is not kept in a file (journal::file).")
	}
	switch n := r.Times(); {
	case n == 0 && r.Acted == 0:
		p.Say("Reflex would have touched nobody.")
	case n == 0:
		p.Say("It was enforcing: it acted %d times. See reflexctl journal.", r.Acted)
	default:
		p.Say("It would have acted %d times, on %d workloads:", n, len(r.Would))
		if r.Acted > 0 {
			p.Say("It did act %d times besides: it was enforcing for a part of the time.", r.Acted)
		}
	}
	return p
}
