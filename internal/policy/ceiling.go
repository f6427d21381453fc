// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// memoryLadder has one rung: the moving ceiling. At level 3 it is the same
// ceiling with a smaller growth budget (tighten).
var memoryLadder = []rung{{LevelContainment, arc.ActionMemoryHigh, 2 * time.Second}}

func (*memoryRules) ladder(*candidate) []rung { return memoryLadder }

const page = 4096

// leastMove is the part of a ceiling, as a shift, below which a move is not
// worth a write. The kernel makes a task above memory.high sleep only from about
// 1.25 % above it (64·overage² s for a full charge batch must exceed 10 ms:
// calculate_high_delay in mm/memcontrol.c), so a cgroup that presses sits that
// far above its ceiling, and every write to memory.high first tries to reclaim
// the difference, and the guard pays for it. 1/256 is a third of it.
const leastMove = 8

// roundUp rounds to a whole page.
func roundUp(b uint64) uint64 { return (b + page - 1) &^ uint64(page-1) }

// ceiling is the state of a moving memory.high.
type ceiling struct {
	headroom uint64  // at grant: h0
	until    int64   // when it is to be spent
	fastest  float64 // growth of the ceiling at grant, bytes a second
	share    float64 // of the pace, halved by tighten
	owed     float64 // growth not yet ordered, bytes
	ending   string  // why its ending was announced
	full     stall   // the cgroup's own, on memory
	idle     int64   // since when it makes no progress; 0 while it does
	yield    yield   // what it does with what it is given
}

const (
	// reserve is the part of the headroom at grant with which the headroom counts
	// as spent.
	reserve = 100
	// opening is the part of it on which a ceiling opens: the growth of somebody who
	// only wanted a little more ends there, and who leaks gets through it soon.
	opening = 8
	// closing is the part of the time bought in which what is left at its end is
	// spent, if something is.
	closing = 100
)

// slack is how near to its ceiling usage may come without pressing: a second
// of growth at first.
func (l *lease) slack() uint64 { return max(uint64(l.fastest), 4<<20) }

// pace is the growth of the ceiling in bytes a second at instant now, with
// available bytes left above usage: what is left to spend over the time left, a
// straight line that is aimed anew at each step. A line drawn once misses: usage is
// above its ceiling by what the kernel puts up with (2 to 10 %), and grows into the
// limit first. In a plant that throttles as the kernel does, no other law gave more
// answers (docs/containment.md). least is the pace on the opening.
func (l *lease) pace(now int64, available uint64, least float64) float64 {
	if l.headroom >= arc.Unlimited || available >= arc.Unlimited {
		return l.share * l.fastest
	}
	left := float64(available) - 0.9*float64(l.headroom)/reserve // 0.9: to get there
	bought := float64(l.until - l.granted)
	pace := max(left, 0) / max(float64(l.until-now), bought/closing) * 1e9
	if available > l.headroom-l.headroom/opening {
		pace = max(pace, least)
	}
	return l.share * pace
}

// raise moves the ceiling by what dt nanoseconds allow at a pace in bytes a second,
// with available bytes left above usage. It never lowers the ceiling, and ends half
// the reserve below the limit: who is held there has not met it yet.
func (l *lease) raise(dt int64, pace float64, usage, available uint64) {
	most := usage + min(available, arc.Unlimited-min(usage, arc.Unlimited))
	if l.headroom < arc.Unlimited {
		most -= min(l.headroom/reserve/2, available)
	}
	if most <= l.parameter {
		return
	}
	l.owed += pace * float64(dt) / 1e9
	if whole := uint64(l.owed) &^ uint64(page-1); whole > 0 {
		l.parameter += min(whole, (most-l.parameter)&^uint64(page-1))
		l.owed -= float64(whole)
	}
}

// spent says that nothing worth holding is left between usage and limit.
func (l *lease) spent(available uint64) bool {
	if l.headroom >= arc.Unlimited || available >= arc.Unlimited {
		return false
	}
	return available <= l.headroom/reserve || available < page
}

// open starts the ceiling at the usage of the moment, so that no write reclaims.
func (m *memoryRules) open(_ *Policy, l *lease, c *candidate, s *arc.Sample) {
	l.parameter = roundUp(m.value(s, arc.CgroupMemoryUsage, c.slot))
	available, _, _ := m.headroom(c.slot, s) // that of harm counts page cache, which the ceiling does not
	l.headroom, l.until, l.share = available, s.Taken+int64(m.cfg.BuyTime), 1
	if l.fastest = m.cfg.GrowthBudget; available < arc.Unlimited {
		l.fastest = max(l.fastest, float64(available)/m.cfg.BuyTime.Seconds())
	}
}

func (m *memoryRules) press(p *Policy, l *lease, slot int32, s *arc.Sample, dt int64) (pressing, known bool) {
	usage := m.value(s, arc.CgroupMemoryUsage, slot)
	switch {
	case l.action == arc.ActionFreeze:
		return true, true // until somebody ends it
	case usage == arc.Absent:
		return false, false
	}
	available, _, _ := m.headroom(slot, s)
	near := usage+l.slack() >= l.parameter
	fast := max(l.fastest, m.cfg.GrowthBudget)
	if pressing = near || m.rate(slot) > fast; pressing {
		firm := usage
		// Page cache fills what room there is, and is taken back for what needs it.
		if g := m.looks.look(l.cgroup, AspectMemory, s.Taken, p.inspector); !g.failed {
			firm = min(firm, g.look.Unreclaimable())
			rate, _ := g.growth()
			pressing = firm+l.slack() >= l.parameter || rate > fast
		}
		pressing = pressing && !m.habits.expects(slot, m.table.taken(s, slot), available+usage-firm)
	}
	if near {
		l.raise(dt, l.pace(s.Taken, available, m.cfg.GrowthBudget), usage, available)
	}
	m.progress(p, l, slot, pressing, s)
	l.yield.observe(p, m, l, slot, pressing, s)
	return pressing, true
}

// Above overshoot of its ceiling a cgroup grows in spite of it: many tasks that
// charge at once are each slowed down by themselves only.
const overshoot = 1.05

// tighten makes the pace of the ceiling slower where the ceiling slows the cgroup down
// but does not hold it: level 3. Where it does nothing at all, less of it would
// not help. It says whether it did.
func (m *memoryRules) tighten(p *Policy, l *lease, slot int32, s *arc.Sample) bool {
	usage, rate := float64(m.value(s, arc.CgroupMemoryUsage, slot)), m.rate(slot)
	if l.level >= LevelPressure || m.cfg.MaxLevel < LevelPressure || p.decision.Changed || s.Taken-l.granted < int64(m.cfg.Settle) ||
		usage < overshoot*float64(l.parameter) || rate <= l.fastest || rate > l.harm.Growth/2 || !m.ongoing(slot, 4*l.fastest) ||
		m.project(slot, rate, s).Exhaustion > m.cfg.Horizon {
		return false
	}
	l.level, l.share = LevelPressure, l.share/2
	return true
}

const (
	// hindered is the share of time in which every task of a cgroup waits for memory
	// that, with less than lively of its usual CPU time, is no progress. A service
	// under a fair ceiling answers at 45 to 88 % (research on moving ceilings, kernel
	// 6.12).
	hindered = 0.5
	lively   = 0.25
	// frozen is the share that leaves no room for that much, whatever is counted: the
	// kernel's vain reclaim is CPU time of the cgroup, too. What does little but leak
	// is above it at its usual work.
	frozen = 0.9
)

// progress notes since when the contained cgroup makes none.
func (m *memoryRules) progress(p *Policy, l *lease, slot int32, pressing bool, s *arc.Sample) {
	total := m.value(s, arc.CgroupPressureMemoryFull, slot)
	if total == arc.Absent {
		l.idle = 0
		return
	}
	full := l.full.observe(s.Taken, float64(total)/1e9)
	works, usually := p.work(slot)
	stuck := full >= frozen && (usually == 0 || 1-full < lively*usually) || full >= hindered && works < lively*usually
	switch {
	case !pressing || !stuck:
		l.idle = 0
	case l.idle == 0:
		l.idle = s.Taken
	}
}

// end announces the configured ending when headroom is spent, or when the cgroup
// makes no progress under its ceiling, and a step later carries it out.
func (m *memoryRules) end(p *Policy, l *lease, slot int32, s *arc.Sample, pressing bool) bool {
	now := s.Taken
	if l.action == arc.ActionFreeze {
		return false
	}
	if l.ending != "" {
		switch m.cfg.Ending {
		case EndingHold:
			return false
		case EndingFreeze:
			m.freeze(p, l, s)
			return false
		}
		p.history.of(l.cgroup, "", now).banned = p.episode
		p.release(l, s, l.ending)
		return true
	}
	if !pressing {
		return false
	}
	available, _, _ := m.headroom(slot, s)
	held := time.Duration(now - l.granted).Round(time.Second)
	switch {
	case l.spent(available):
		l.ending = "headroom is spent"
		m.announce(p, l, slot, s, l.ending+", ending: "+m.cfg.Ending.String(),
			fmt.Sprintf("headroom of %s is spent after %s of containment; ending: %s", l.path, held, m.cfg.Ending))
	case l.idle != 0 && now-l.idle >= int64(m.cfg.NoProgress):
		l.ending = "it makes no progress"
		m.announce(p, l, slot, s, l.ending+", ending: "+m.cfg.Ending.String(),
			fmt.Sprintf("%s has made no progress for %s, contained for %s; ending: %s", l.path, time.Duration(now-l.idle).Round(time.Second), held, m.cfg.Ending))
	case l.yield.poor && l.idle == 0:
		l.ending = "it does less than it would unprotected"
		m.announce(p, l, slot, s, l.ending+", ending: "+m.cfg.Ending.String(),
			fmt.Sprintf("%s %s; contained for %s, ending: %s", l.path, l.yield.say(), held, m.cfg.Ending))
	case m.tighten(p, l, slot, s):
		reason := fmt.Sprintf("%s grows past its ceiling: the pace of the ceiling is halved to %s/s", l.path, bytes(l.pace(now, available, m.cfg.GrowthBudget)))
		m.announce(p, l, slot, s, "pace halved", reason)
		if p.level < l.level {
			p.move1(+1, reason)
		}
	}
	return false
}

// freeze stops the tasks of a cgroup whose ceiling l is at its end. Where the
// guard cannot, the ceiling stays as it is.
func (m *memoryRules) freeze(p *Policy, l *lease, s *arc.Sample) {
	h := p.history.of(l.cgroup, "", s.Taken)
	if p.leaseFor(arc.ActionFreeze, &candidate{id: l.cgroup}) != nil || p.lacks(arc.ActionFreeze, s.Taken) || s.Taken < h.retryAt[arc.ActionFreeze] ||
		p.following != nil || len(p.leases) >= p.cfg.MaxLeases || !p.pace.allows(s.Taken, p.cfg.ActionsPerMinute) {
		return
	}
	p.following = &lease{
		resource: Memory, action: arc.ActionFreeze, level: l.level, cgroup: l.cgroup, path: l.path, harm: l.harm,
		parameter: 1, reason: "ending: " + l.ending,
	}
}

func (m *memoryRules) announce(p *Policy, l *lease, slot int32, s *arc.Sample, cause, reason string) {
	p.event(Event{
		Kind: Announced, Resource: Memory, Action: l.action, Cgroup: l.cgroup, Path: l.path, Harm: m.project(slot, m.rate(slot), s),
		Order: p.past(l, s), Outcome: arc.Outcome{Verdict: arc.VerdictHeld, Value: l.parameter, Cause: cause}, Reason: reason,
	})
}
