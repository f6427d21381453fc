// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"crypto/rand"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// Observe implements [arc.Meeting]: one tick of the arc, in the sampling
// goroutine. It waits for nobody.
func (r *reflex) Observe(s *arc.Sample, j *arc.Judgement) {
	began := r.clock()
	*j = arc.Judgement{Sequence: s.Sequence}
	if sat := (*r.seats.Load())[s.Source]; sat != nil {
		sat.engine.Judge(s, r.control.Load(), j)
		if !sat.sampled.Load() {
			sat.sampled.Store(true)
		}
	} else {
		r.unjudged.note(s.Source)
	}
	if !r.leads(s.Source) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing || r.policy == nil {
		return
	}
	r.interval.Store(max(s.Interval, s.Period)) // the next sample may take as long
	if s.Missed > 0 {
		r.missed.Add(uint64(s.Missed))
	}
	for a, ok := r.answers.take(); ok; a, ok = r.answers.take() {
		r.policy.Answer(a.order, a.outcome)
	}
	r.operate(s)
	d := r.policy.Step(s, j, r.inspectorOrNil())
	r.control.Store(d.Control)
	for i := range d.Orders {
		r.mailbox.post(d.Orders[i])
	}
	for i := range d.Events {
		r.record(&d.Events[i], s, j)
	}
	r.level.Store(int64(d.Level))
	r.snap.publish(r, s, j, d)
	ended := r.clock()
	r.observed.Store(ended)
	r.durations.add(ended - began)
}

// leads says that the policy follows this source: the first registered, or,
// where no engine is registered at all, the first that samples.
func (r *reflex) leads(source string) bool {
	if leading := r.leading.Load(); leading != nil {
		return *leading == source
	}
	name := source // its own variable: only this path escapes to the heap
	return r.leading.CompareAndSwap(nil, &name) || *r.leading.Load() == source
}

// inspectorOrNil avoids a nil pointer in a non-nil interface.
func (r *reflex) inspectorOrNil() policy.Inspector {
	if r.insp == nil {
		return nil
	}
	return r.insp
}

// record writes one event of the policy to the journal.
func (r *reflex) record(e *policy.Event, s *arc.Sample, j *arc.Judgement) {
	if e.Kind == policy.Opened {
		if _, err := rand.Read(r.episode[:]); err != nil {
			r.episode[0] = 1 // never zero: zero is no episode
		}
		r.opened = s.Taken
		r.episodes.Add(1)
	}
	rec := episode.Record{
		Time:      time.Unix(0, s.WallTime),
		Episode:   r.episode,
		Sequence:  s.Sequence,
		Source:    s.Source,
		Level:     e.Level,
		Previous:  e.Previous,
		Reason:    e.Reason,
		Judgement: *j,
		Harm:      harm(&e.Harm),
		Onset:     e.Onset,
		Scheduled: s.Scheduled,
	}
	if e.Cgroup != 0 { // a shielded interface is named in the reason
		rec.Cgroup = episode.Cgroup{ID: e.Cgroup, Path: e.Path}
	}
	switch e.Kind {
	case policy.Opened:
		rec.Kind = episode.Opened
	case policy.LevelChanged:
		rec.Kind = episode.LevelChanged
	case policy.Closed:
		rec.Kind = episode.Closed
	case policy.Declined:
		rec.Kind = episode.Action
		rec.Order = &arc.Order{Cgroup: e.Cgroup, Action: e.Action, Observe: r.policy.Observes(e.Resource), Scheduled: s.Scheduled, Reason: e.Reason}
		rec.Outcome = &arc.Outcome{Verdict: arc.VerdictRefused, Cause: "policy: " + e.Cause.String()}
	case policy.Announced, policy.Answered:
		rec.Kind = episode.Action
		rec.Order, rec.Outcome = &e.Order, &e.Outcome
		if e.Kind == policy.Announced {
			announced := e.Outcome
			announced.Cause = "policy: " + announced.Cause
			rec.Outcome = &announced
		}
		if e.Order.Scheduled != 0 {
			rec.Scheduled = e.Order.Scheduled
		}
		rec.Written = e.Outcome.Written
	}
	r.journal.Append(rec)
}

// harm turns the policy's harm into the journal's.
func harm(h *policy.Harm) episode.Harm {
	if h.Kind == policy.HarmNone {
		return episode.Harm{}
	}
	out := episode.Harm{Kind: h.Kind.String(), Unit: h.Kind.Unit(), Available: h.Available, Limit: h.Limit, Growth: h.Growth, Stall: h.Stall}
	if h.Exhaustion != policy.Never {
		out.Exhaustion = h.Exhaustion
	}
	return out
}
