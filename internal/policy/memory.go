// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// memoryRules: memory runs out, or tasks stall on it; who grows in memory that
// only its owner can free is held by a moving memory.high.
type memoryRules struct {
	*growth
	habits *habits
	cfg    *Config

	kills   float64 // OOM kills, and until when what falls does so by one
	falling int64

	psi          stall
	stalled      float64
	suspect      uint64
	suspectStall stall
	approach     approach

	looks      looks
	ranks      []grower
	candidates []candidate
}

func newMemoryRules(t *table, cfg *Config) *memoryRules {
	g := newGrowth(t, arc.CgroupMemoryUsage)
	return &memoryRules{
		growth: g, habits: newHabits(g), cfg: cfg,
		ranks: make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
	}
}

func (*memoryRules) name() Resource { return Memory }

func (m *memoryRules) observe(s *arc.Sample, learn bool) {
	m.follow(s.Taken, &s.Cgroups)
	m.stalled = m.psi.observe(s.Taken, s.Node[arc.NodePressureMemorySome])
	if kills := s.Node[arc.NodeOOMKills]; kills > m.kills {
		m.kills, m.falling = kills, s.Taken+int64(aftermath)
	}
	m.habits.observe(s.Taken, s, learn && s.Taken >= m.falling)
	if learn {
		m.approach = approach{}
	}
}

// project says what runs out first if slot keeps growing at rate bytes a second.
func (m *memoryRules) project(slot int32, rate float64, s *arc.Sample) Harm {
	available, limit, kind := m.headroom(slot, s)
	return exhaust(kind, available, limit, rate)
}

// headroom is that of the limits above slot, or the node's where it is less.
func (m *memoryRules) headroom(slot int32, s *arc.Sample) (available, limit uint64, kind HarmKind) {
	available, limit = m.table.headroom(slot, arc.CgroupMemoryUsage, arc.CgroupMemoryMax, s)
	if limit < arc.Unlimited {
		kind = HarmLimit
	}
	if node, total, known := nodeMemory(s); known && node < available {
		return node, total, HarmNode
	}
	return available, limit, kind
}

func nodeMemory(s *arc.Sample) (available, total uint64, known bool) {
	a, t := s.Node[arc.NodeMemoryAvailable], s.Node[arc.NodeMemoryTotal]
	if math.IsNaN(a) || a < 0 || math.IsNaN(t) || t <= 0 {
		return 0, 0, false
	}
	return uint64(a), uint64(t), true
}

// stalling says that tasks stall on memory beyond the budget, and not because of
// what we do.
func (m *memoryRules) stalling(p *Policy) bool {
	return m.stalled > m.cfg.StallBudget && !p.containing(Memory)
}

// threat is the harm of growth that is not expected of slot.
func (m *memoryRules) threat(slot int32, rate float64, s *arc.Sample) (harm Harm, expected bool) {
	harm = m.project(slot, rate, s)
	if harm.Exhaustion <= m.cfg.Horizon && m.habits.expects(slot, m.value(s, arc.CgroupMemoryUsage, slot), harm.Available) {
		harm.Exhaustion, expected = Never, true
	}
	return harm, expected
}

// examine ranks the leading growers, looks closer at them and projects their
// harm. The result is sorted by effective growth, fastest first.
func (m *memoryRules) examine(p *Policy, s *arc.Sample, inspector Inspector) []candidate {
	now := s.Taken
	m.ranks = m.growers(m.growth, m.cfg.MinGrowth, m.ranks)
	m.candidates = m.candidates[:0]
	near := m.stalling(p)
	for _, g := range m.ranks {
		if len(m.candidates) == MaxInspected {
			break
		}
		id := m.ids[g.slot]
		if p.leaseOf(Memory, id) != nil || p.above(Memory, g.slot) {
			continue
		}
		c := candidate{slot: g.slot, id: id, own: g.own, effective: g.own}
		c.harm, c.expected = m.threat(g.slot, g.own, s)
		near = near || c.expected || c.harm.Exhaustion <= m.cfg.Horizon
		m.candidates = append(m.candidates, c)
	}
	if !near {
		return m.candidates
	}
	for i := range m.candidates {
		c := &m.candidates[i]
		g := m.looks.look(c.id, AspectMemory, now, inspector)
		c.look, c.blind = g.look, g.failed
		if rate, known := g.growth(); known && !c.blind {
			c.effective = min(c.own, rate)
		} else {
			c.unsure = !c.blind
		}
		c.harm, c.expected = m.threat(c.slot, c.effective, s)
		for k := i; k > 0 && m.candidates[k-1].effective < m.candidates[k].effective; k-- {
			m.candidates[k-1], m.candidates[k] = m.candidates[k], m.candidates[k-1]
		}
	}
	return m.candidates
}

// judge applies harm and attribution to the candidates.
func (m *memoryRules) judge(p *Policy, s *arc.Sample, inspector Inspector) verdict {
	candidates := m.examine(p, s, inspector)
	v := m.suspects(p, candidates, s)
	if v.lead == nil {
		m.approach = approach{}
	} else {
		m.approach.add(v.lead.id, s.Taken, v.lead.harm.Exhaustion)
	}
	if v.order && p.velocity <= 0 && !m.approach.nearer() {
		v.order = false // it is not getting worse
	}
	return v
}

func (m *memoryRules) suspects(p *Policy, candidates []candidate, s *arc.Sample) verdict {
	v := verdict{resource: Memory}
	stalling := m.stalling(p)
	v.pressed = stalling
	if len(candidates) == 0 {
		v.cause = CauseNoHarm
		if stalling {
			v.cause = CauseNoCulprit
		}
		return v
	}
	lead := leading(candidates, m.cfg.Horizon)
	v.lead, v.second = lead, runnerUp(candidates, lead)
	lead.harm.Stall = m.stalled
	harm := lead.harm.Exhaustion <= m.cfg.Horizon
	if !harm && stalling {
		harm, lead.harm.Kind = true, HarmStall
	}
	v.pressed = harm
	switch {
	case lead.unsure:
		return v // one more look, at a later tick
	case !harm:
		v.cause = CauseNoHarm
		if lead.expected {
			v.cause = CauseExpected
		} else if c := m.caching(candidates, s); c != nil {
			v.cause, v.lead = CausePageCache, c
		}
		return v
	case !lead.blind && lead.effective < m.cfg.MinGrowth:
		v.cause, v.lead = CauseNoCulprit, nil
		return v
	case !p.aimable(&v):
		return v
	}
	usage := m.value(s, arc.CgroupMemoryUsage, lead.slot)
	if m.value(s, arc.CgroupMemoryHigh, lead.slot) <= roundUp(usage) {
		v.cause = CauseLimited
		return v
	}
	p.admit(m, &v, m.graced(p, lead, s), s)
	// Not yet, when it pauses at this moment: it may have settled.
	v.order = v.order && m.ongoing(lead.slot, lead.effective)
	return v
}

// graced says that startup grace excuses the growth of c. Its own stalls are its
// own affair; the others' are not.
func (m *memoryRules) graced(p *Policy, c *candidate, s *arc.Sample) bool {
	if !p.young(c, s.Taken) {
		return false
	}
	others := m.stalled
	if m.value(s, arc.CgroupPressureMemorySome, c.slot) != arc.Absent {
		others = max(others-m.ownStall(c, s), 0)
	}
	return others <= m.cfg.StallBudget
}

// ownStall measures the stall of the candidate under suspicion itself.
func (m *memoryRules) ownStall(c *candidate, s *arc.Sample) float64 {
	if m.suspect != c.id {
		m.suspect, m.suspectStall = c.id, stall{}
	}
	return m.suspectStall.observe(s.Taken, float64(m.value(s, arc.CgroupPressureMemorySome, c.slot))/1e9)
}

// caching returns the candidate whose growth would be harm if it were not page
// cache, or nil.
func (m *memoryRules) caching(candidates []candidate, s *arc.Sample) *candidate {
	for i := range candidates {
		c := &candidates[i]
		if c.effective < c.own/2 && m.project(c.slot, c.own, s).Exhaustion <= m.cfg.Horizon {
			return c
		}
	}
	return nil
}

func (m *memoryRules) say(v *verdict) string {
	if v.lead == nil {
		if v.cause == CauseNoCulprit {
			return "tasks stall on memory but no cgroup grows: nobody to contain"
		}
		return "anomalous, but nothing runs out and nobody is kept waiting: watching only"
	}
	where, grows := v.lead.where(), bytes(v.lead.own)+"/s"
	switch v.cause {
	case CauseNoHarm:
		return fmt.Sprintf("%s grows %s, %s: no harm within the horizon", where, grows, v.lead.harm.String())
	case CauseExpected:
		return fmt.Sprintf("%s grows %s, as it has before, to %s, and came back: there is room for that", where, grows, bytes(float64(m.habits.crest(v.lead.slot))))
	case CausePageCache:
		return fmt.Sprintf("%s grows %s, but by page cache, which the kernel takes back", where, grows)
	case CauseMargin:
		return fmt.Sprintf("%s grows %s, but the runner-up grows %s/s: no single culprit", where, bytes(v.lead.effective)+"/s", bytes(v.second))
	case CauseLimited:
		return fmt.Sprintf("%s grows %s, but its own memory.high already holds it", where, grows)
	case CauseNone:
		return fmt.Sprintf("%s grows %s/s (runner-up %s/s), %s", where, bytes(v.lead.effective), bytes(v.second), v.lead.harm.String())
	}
	return v.sayCommon(where + " grows " + grows)
}
