// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
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

// lease is one moving ceiling.
type lease struct {
	cgroup     uint64
	generation uint64
	path       string
	reason     string
	harm       Harm
	phase      phase
	verdict    arc.Verdict // of the last answer

	ceiling  uint64
	sent     uint64  // the ceiling last ordered
	headroom uint64  // at grant: h0
	fastest  float64 // growth of the ceiling at grant: r0, bytes a second
	owed     float64 // growth not yet ordered, bytes

	stepped  int64 // last time the ceiling was considered
	ordered  int64 // last order sent
	deadline int64 // after it the guard has ended the lease by itself
	granted  int64
	calm     int64 // since when it has not pressed; 0 while it presses
	retryAt  int64
	backoff  int64
	missing  int // sweeps in a row without the cgroup
	ending   int64
	released int64 // when the release was decided
}

const page = 4096

// leastMove is the part of a ceiling, as a shift, below which a move is not
// worth a write. The kernel makes a task above memory.high sleep only from about
// 1.25 % above it (64·overage² s for a full charge batch must exceed 10 ms:
// calculate_high_delay in mm/memcontrol.c), so a cgroup that presses sits that
// far above its ceiling, and every write to memory.high first tries to reclaim
// the difference. 1/512 is a sixth of it.
const leastMove = 9

// roundUp rounds to a whole page.
func roundUp(b uint64) uint64 { return (b + page - 1) &^ uint64(page-1) }

// slack is how near to its ceiling usage may come without pressing: a second
// of growth at first.
func (l *lease) slack() uint64 { return max(uint64(l.fastest), 4<<20) }

// raise moves the ceiling by what dt nanoseconds allow with available bytes
// left above usage: r(h) = r0·h/h0, so that exhaustion is approached and not
// met. It never lowers the ceiling and never passes the limit.
func (l *lease) raise(dt int64, usage, available uint64) {
	most := usage + min(available, arc.Unlimited-min(usage, arc.Unlimited))
	if most <= l.ceiling {
		return
	}
	h := float64(most - l.ceiling)
	l.owed += l.fastest * min(h/max(float64(l.headroom), 1), 1) * float64(dt) / 1e9
	if whole := uint64(l.owed) &^ uint64(page-1); whole > 0 {
		l.ceiling += min(whole, (most-l.ceiling)&^uint64(page-1))
		l.owed -= float64(whole)
	}
}

// spent says that nothing worth holding is left between ceiling and limit.
func (l *lease) spent(usage, available uint64) bool {
	if l.headroom >= arc.Unlimited || available >= arc.Unlimited {
		return false
	}
	left := usage + available - min(usage+available, l.ceiling)
	return left <= l.headroom/100 || left < page
}

// order makes the order for a lease.
func (p *Policy) order(l *lease, verb arc.Verb, s *arc.Sample) {
	l.ordered = s.Taken
	if verb == arc.Hold {
		l.sent = l.ceiling
	}
	p.decision.Orders = append(p.decision.Orders, arc.Order{
		Cgroup:     l.cgroup,
		Action:     arc.ActionMemoryHigh,
		Verb:       verb,
		Observe:    p.cfg.Observe,
		Parameter:  l.ceiling,
		TTL:        int64(p.cfg.TTL),
		Generation: l.generation,
		Scheduled:  s.Scheduled,
		Reason:     l.reason,
	})
}

// grant opens a lease on the culprit.
func (p *Policy) grant(c *candidate, s *arc.Sample) {
	usage := s.Cgroups.Value(arc.CgroupMemoryUsage, int(p.growth.row[c.slot]))
	p.generation = max(p.generation+1, uint64(s.Taken))
	fastest := p.cfg.GrowthBudget
	if c.harm.Available < arc.Unlimited {
		fastest = max(fastest, float64(c.harm.Available)/p.cfg.BuyTime.Seconds())
	}
	l := lease{
		cgroup: c.id, generation: p.generation, path: c.look.Path, harm: c.harm,
		ceiling: roundUp(usage), headroom: c.harm.Available, fastest: fastest,
		stepped: s.Taken, deadline: s.Taken + int64(p.cfg.TTL), granted: s.Taken,
	}
	l.reason = fmt.Sprintf("grows %s/s, %s", bytes(c.effective), c.harm.describe())
	p.leases = append(p.leases, l)
	p.order(&p.leases[len(p.leases)-1], arc.Hold, s)
}

// keep moves, renews, ends and drops the leases.
func (p *Policy) keep(s *arc.Sample) {
	kept := p.leases[:0]
	for i := range p.leases {
		if p.keepOne(&p.leases[i], s) {
			kept = append(kept, p.leases[i])
		}
	}
	clear(p.leases[len(kept):])
	p.leases = kept
}

func (p *Policy) keepOne(l *lease, s *arc.Sample) bool {
	now := s.Taken
	if now > l.deadline {
		p.event(Event{
			Kind: Answered, Cgroup: l.cgroup, Path: l.path, Harm: l.harm, Order: p.past(l, s),
			Outcome: arc.Outcome{Verdict: arc.VerdictFailed, Deadline: l.deadline, Cause: "not answered within its life: the guard has ended it by itself"},
			Reason:  "the lease on " + l.path + " ran out unanswered",
		})
		p.history.of(l.cgroup, "", now).retreat(now, time.Second, time.Minute)
		return false
	}
	slot, present := p.growth.slots[l.cgroup]
	present = present && p.growth.row[slot] >= 0
	if present {
		l.missing = 0
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

// move is one step of a held lease whose cgroup is there.
func (p *Policy) move(l *lease, slot int32, s *arc.Sample) {
	now := s.Taken
	if now-l.stepped < int64(p.cfg.StepEvery) {
		return
	}
	dt := min(now-l.stepped, 5*int64(p.cfg.StepEvery)) // a gap earns no growth
	l.stepped = now
	usage := s.Cgroups.Value(arc.CgroupMemoryUsage, int(p.growth.row[slot]))
	if usage == arc.Absent {
		p.renew(l, s)
		return
	}
	available, _, _ := p.growth.headroom(slot, s)
	pressing := usage+l.slack() >= l.ceiling || p.growth.rate(slot) > max(l.fastest, p.cfg.GrowthBudget)
	if usage+l.slack() >= l.ceiling {
		l.raise(dt, usage, available)
	}
	hold := int64(p.cfg.ReleaseAfter) * p.history.of(l.cgroup, "", now).factor()
	switch {
	case pressing:
		l.calm = 0
	case l.calm == 0:
		l.calm = now
	case now-l.calm >= hold:
		p.release(l, s, fmt.Sprintf("it has not pressed against its ceiling for %s", time.Duration(now-l.calm).Round(time.Second)))
		return
	}
	if pressing && l.ending == 0 && l.spent(usage, available) {
		l.ending = now
		p.event(Event{
			Kind: Announced, Cgroup: l.cgroup, Path: l.path, Harm: p.growth.project(slot, p.growth.rate(slot), s), Order: p.past(l, s),
			Reason: fmt.Sprintf("headroom of %s is spent after %s of containment; ending: %s", l.path, time.Duration(now-l.granted).Round(time.Second), p.cfg.Ending),
		})
	} else if l.ending != 0 && p.cfg.Ending == EndingRelease {
		p.history.of(l.cgroup, "", now).banned = p.episode
		p.release(l, s, "headroom is spent")
		return
	}
	if l.ceiling-l.sent >= max(l.ceiling>>leastMove, page) {
		p.order(l, arc.Hold, s)
		return
	}
	p.renew(l, s)
}

// renew orders the ceiling again before the lease runs out.
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

// past is the order a lease stands for, for an event that sends none.
func (p *Policy) past(l *lease, s *arc.Sample) arc.Order {
	return arc.Order{
		Cgroup: l.cgroup, Action: arc.ActionMemoryHigh, Observe: p.cfg.Observe, Parameter: l.ceiling,
		TTL: int64(p.cfg.TTL), Generation: l.generation, Scheduled: s.Scheduled, Reason: l.reason,
	}
}
