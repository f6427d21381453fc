// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// brake is a cap on a rate (cpu.max, io.max, a throttle) within its lease. It begins
// at half of what the culprit had, a throttle at what is no surge, is halved while others go on waiting, no faster than that
// can show, and eased while they do not, up to where it began: a batch job is not
// held at the floor for nothing.
type brake struct {
	first    uint64 // where it began; 0 for what is no cap
	least    uint64 // the floor of this lease
	turned   int64  // when it was last tightened or eased
	quiet    int64  // since when others hardly wait; 0 while they do
	relapses int64  // doubles with each tightening that follows an easing, as far as maxRelapses
	eased    bool   // since it was tightened last
}

// maxRelapses bounds how many times longer than ReleaseAfter others must not wait
// before a cap is eased that was eased too early before.
const maxRelapses = 8

// brakeAt makes the lease a cap that begins at first and never goes below least.
func (l *lease) brakeAt(first, least uint64) {
	first = max(first, least)
	l.parameter, l.brake = first, brake{first: first, least: least, relapses: 1}
}

// tighter says that a held cap has something left to take.
func (l *lease) tighter() bool { return l.parameter > l.least && l.first > 0 }

// shown says that whatever was last done by the lease could show its effect.
func (l *lease) shown(effect time.Duration, now int64) bool {
	return l.phase == held && now-max(l.granted, l.turned) >= int64(effect)
}

// tighten halves a cap.
func (p *Policy) tighten(r resource, l *lease, v *verdict, s *arc.Sample) {
	before := l.parameter
	l.parameter, l.turned, l.quiet = max(l.parameter/2, l.least), s.Taken, 0
	if l.eased {
		l.relapses, l.eased = min(2*l.relapses, maxRelapses), false
	}
	if waits, ok := r.(interface{ restart() }); ok {
		waits.restart() // the effect of this is what counts now
	}
	p.order(l, arc.Hold, s)
	cause := "tightened: others go on waiting under " + amount(l.action, before)
	p.event(Event{
		Kind: Announced, Resource: l.resource, Action: l.action, Cgroup: l.cgroup, Path: l.path, Harm: v.lead.harm, RunnerUp: v.second,
		Order: p.past(l, s), Outcome: arc.Outcome{Verdict: arc.VerdictHeld, Value: l.parameter, Cause: cause}, Reason: cause + ": " + r.say(v),
	})
}

// ease doubles a cap under which others have hardly waited for long enough: less
// than half of what is put up with, so that twice the cap is no harm again. Share
// is how much they wait.
func (p *Policy) ease(l *lease, share, budget float64, now int64) {
	switch {
	case l.phase != held || l.parameter >= l.first || share >= budget/2:
		l.quiet = 0
	case l.quiet == 0:
		l.quiet = now
	case now-max(l.quiet, l.turned) >= int64(p.cfg.ReleaseAfter)*l.relapses:
		if l.parameter *= 2; l.parameter > l.first-l.first/16 { // halves were rounded
			l.parameter = l.first
		}
		l.turned, l.quiet, l.eased = now, now, true
	}
}
