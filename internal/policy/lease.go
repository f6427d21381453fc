// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// phase is where a lease is in its life.
type phase uint8

const (
	asked     phase = iota // ordered, not answered
	held                   // granted (or observed) and renewed
	releasing              // release ordered, not answered
)

// lease is one knob of one cgroup, or of an interface, that is held.
type lease struct {
	resource   Resource
	action     arc.Action
	level      int
	cgroup     uint64
	device     uint64
	link       uint32
	generation uint64
	path       string
	reason     string
	harm       Harm
	phase      phase
	verdict    arc.Verdict // of the last answer

	parameter uint64
	sent      uint64 // the parameter last ordered
	ceiling          // of memory
	caught    catch  // of everything whose harm is a rate
	brake            // of a cap on a rate

	stepped  int64 // last time the lease was considered
	ordered  int64 // last order sent
	deadline int64 // after it the guard has ended the lease by itself
	granted  int64
	calm     int64 // since when it has not pressed; 0 while it presses
	vain     bool  // released without having been pressed against
	retryAt  int64
	backoff  int64
	missing  int   // sweeps in a row without the cgroup
	again    bool  // decided anew for a guard that had forgotten it, and not granted yet
	released int64 // when the release was decided
}

// catch is what a culprit did when it was caught.
type catch struct {
	usual, rate float64 // a second
}

// order makes the order for a lease.
func (p *Policy) order(l *lease, verb arc.Verb, s *arc.Sample) {
	l.ordered = s.Taken
	if verb == arc.Hold {
		l.sent = l.parameter
	}
	o := p.past(l, s)
	o.Verb = verb
	p.decision.Orders = append(p.decision.Orders, o)
}

// grant opens a lease on the culprit.
func (p *Policy) grant(r resource, v *verdict, s *arc.Sample) {
	c := v.lead
	l := lease{
		resource: v.resource, action: v.rung.action, level: v.rung.level,
		cgroup: c.id, device: c.look.Device, link: c.link.Index, path: v.path(), harm: c.harm,
		reason: clip(strings.TrimPrefix(r.say(v), c.where()+" "), maxReason),
	}
	r.open(p, &l, c, s)
	p.begin(&l, s)
}

// begin orders a lease for the first time.
func (p *Policy) begin(l *lease, s *arc.Sample) {
	now := s.Taken
	p.generation = max(p.generation+1, uint64(now))
	l.generation, l.stepped, l.granted, l.deadline = p.generation, now, now, now+int64(p.cfg.TTL)
	p.begun = true
	p.pace.note(now)
	p.order(l, arc.Hold, s)
	p.leases = append(p.leases, *l)
}

// again decides a lease anew that the guard holds no more, without anybody having
// wanted that: it was started again, or the renewal came late. The guard gives what
// a new lease gets; the containment is the same. It is tried once.
func (p *Policy) again(l *lease, s *arc.Sample) {
	p.generation = max(p.generation+1, uint64(s.Taken))
	l.generation, l.phase, l.again = p.generation, asked, true
	l.deadline, l.retryAt, l.backoff = s.Taken+int64(p.cfg.TTL), 0, 0
	p.order(l, arc.Hold, s)
}

// trialAfter is after how long somebody who still presses is released to see
// whether that still harms anybody: a rate is not exhausted by waiting, and the
// node learns nothing new meanwhile. It is longer each time it recurs.
const trialAfter = 10 * int64(time.Minute)

// keep moves, renews, ends and drops the leases.
func (p *Policy) keep(s *arc.Sample) {
	kept := p.leases[:0]
	for i := range p.leases {
		if p.keepOne(&p.leases[i], s) {
			kept = append(kept, p.leases[i])
		}
	}
	clear(p.leases[len(kept):])
	if p.leases = kept; p.following != nil {
		p.begin(p.following, s)
		p.following = nil
	}
}

func (p *Policy) keepOne(l *lease, s *arc.Sample) bool {
	now := s.Taken
	if now > l.deadline {
		p.event(Event{
			Kind: Answered, Resource: l.resource, Action: l.action, Cgroup: l.cgroup, Path: l.path, Harm: l.harm, Order: p.past(l, s),
			Outcome: arc.Outcome{Verdict: arc.VerdictFailed, Deadline: l.deadline, Cause: "not answered within its life: the guard has ended it by itself"},
			Reason:  "the lease on " + l.path + " ran out unanswered",
		})
		p.history.of(l.cgroup, "", now).retreat(l.action, now, time.Second, time.Minute)
		return false
	}
	slot, present := int32(-1), l.cgroup == 0 // an interface is not swept
	if !present {
		slot, present = p.table.slots[l.cgroup]
		present = present && p.table.row[slot] >= 0
	}
	if present {
		l.missing = 0
		switch {
		case p.cfg.Observes(l.resource):
		case l.resource == Memory:
			p.memory.habits.hold(slot)
		case l.resource == CPU:
			p.cpu.bursts.hold(slot)
		}
	} else if s.Cgroups.Len() > 0 && s.Cgroups.Truncated == 0 {
		l.missing++
	}
	switch {
	case l.phase == releasing:
		if now >= l.retryAt && now-l.ordered >= int64(time.Second) {
			p.order(l, arc.Release, s)
		}
		return true
	case l.missing >= 3:
		p.release(l, s, "it is gone")
		return true
	case l.phase == asked:
		// The executor may be busy with somebody else's order: ask again, the
		// newest wins.
		if now-l.ordered >= int64(time.Second) {
			p.order(l, arc.Hold, s)
		}
		return true
	case now < l.retryAt:
		return true
	}
	if !present {
		p.renew(l, s)
		return true
	}
	p.move(l, slot, s)
	return true
}

// soonCalm is how soon after a grant a cgroup has to be calm to have been contained for
// nothing.
const soonCalm = 2 * int64(time.Second)

// move is one step of a held lease whose cgroup is there.
func (p *Policy) move(l *lease, slot int32, s *arc.Sample) {
	now := s.Taken
	// Ticks are taken a little late, now more and now less: of two that were due
	// StepEvery apart the second is a step, too.
	if now-l.stepped < int64(p.cfg.StepEvery)-s.Interval/2 {
		return
	}
	dt := min(now-l.stepped, 5*int64(p.cfg.StepEvery)) // a gap earns no growth
	l.stepped = now
	r := p.resources[l.resource]
	pressing, known := r.press(p, l, slot, s, dt)
	if !known {
		p.renew(l, s)
		return
	}
	m := p.history.of(l.cgroup, "", now)
	hold := int64(p.cfg.ReleaseAfter) * m.factor()
	switch {
	case l.resource >= CPU && now-l.granted >= trialAfter*m.factor() && now >= m.restUntil && !p.outranked(l):
		p.release(l, s, fmt.Sprintf("held for %s: to see whether it still does harm", time.Duration(now-l.granted).Round(time.Second)))
		return
	case pressing || p.outranked(l):
		l.calm = 0
	case l.calm == 0:
		l.calm = now
	case now-l.calm >= hold:
		l.vain = l.calm-l.granted <= soonCalm
		p.release(l, s, fmt.Sprintf("it has not pressed against it for %s", time.Duration(now-l.calm).Round(time.Second)))
		return
	}
	if r.end(p, l, slot, s, pressing) {
		return
	}
	if l.parameter > l.sent && l.parameter-l.sent >= max(l.parameter>>leastMove, page) {
		p.order(l, arc.Hold, s)
		return
	}
	p.renew(l, s)
}

// outranked says that something harder is held on the same cgroup for the same
// resource: that is released first, and what it held back shows only then.
func (p *Policy) outranked(l *lease) bool {
	for i := range p.leases {
		if h := &p.leases[i]; h.cgroup == l.cgroup && h.link == l.link && h.resource == l.resource && h.granted > l.granted {
			return true
		}
	}
	return false
}

// renew orders the same again before the lease runs out.
func (p *Policy) renew(l *lease, s *arc.Sample) {
	if s.Taken-l.ordered >= int64(p.cfg.Renew) {
		p.order(l, arc.Hold, s)
	}
}

// release orders the original back.
func (p *Policy) release(l *lease, s *arc.Sample, why string) {
	l.phase, l.reason, l.retryAt, l.released = releasing, "released: "+why, 0, s.Taken
	l.deadline = s.Taken + int64(p.cfg.TTL)
	p.order(l, arc.Release, s)
}

// past is the order a lease stands for.
func (p *Policy) past(l *lease, s *arc.Sample) arc.Order {
	return arc.Order{
		Cgroup: l.cgroup, Device: l.device, Interface: l.link, Action: l.action, Observe: p.cfg.Observes(l.resource), Parameter: l.parameter,
		TTL: int64(p.cfg.TTL), Generation: l.generation, Scheduled: s.Scheduled, Reason: l.reason,
	}
}
