// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// candidate is one of the leading growers under a closer look.
type candidate struct {
	slot      int32
	id        uint64
	own       float64 // growth of usage, bytes a second
	effective float64 // of that, unreclaimable
	harm      Harm
	look      Inspection
	blind     bool // could not be looked at
	unsure    bool // looked at once: growth by kind is not known yet
}

// glance is what the last looks at a cgroup saw, to tell what kind of memory
// grows.
type glance struct {
	id     uint64
	at     [glancePoints]int64
	bytes  [glancePoints]uint64 // unreclaimable
	n      int
	last   int64 // when it was looked at, successfully or not
	look   Inspection
	failed bool
}

const (
	maxGlances = 2 * MaxInspected
	// lookEvery is the least time between two looks at one cgroup.
	lookEvery    = 50 * int64(time.Millisecond)
	glancePoints = 10
	// Growth by kind is measured over at least so long, which is also how long a
	// growth must last to be more than a spike; older looks than the most are
	// forgotten.
	baselineLeast = 150 * int64(time.Millisecond)
	baselineMost  = 2 * int64(time.Second)
)

// look inspects a cgroup, not more often than every lookEvery, and returns its
// glance.
func (p *Policy) look(id uint64, now int64, inspector Inspector) *glance {
	at, oldest := -1, 0
	for i := range p.glances {
		if p.glances[i].id == id {
			at = i
			break
		}
		if p.glances[i].last < p.glances[oldest].last {
			oldest = i
		}
	}
	if at < 0 {
		at = oldest
		p.glances[at] = glance{id: id}
	}
	g := &p.glances[at]
	if g.last != 0 && now-g.last < lookEvery {
		return g
	}
	g.last = now
	if g.failed = inspector == nil || inspector.Inspect(id, &g.look) != nil; !g.failed {
		g.add(now, g.look.Unreclaimable())
	}
	return g
}

// add keeps one look.
func (g *glance) add(now int64, bytes uint64) {
	drop := 0
	for drop < g.n && now-g.at[drop] > baselineMost {
		drop++
	}
	if g.n-drop == glancePoints {
		drop++
	}
	copy(g.at[:], g.at[drop:g.n])
	copy(g.bytes[:], g.bytes[drop:g.n])
	g.n -= drop
	g.at[g.n], g.bytes[g.n] = now, bytes
	g.n++
}

// growth returns how fast unreclaimable memory grows, in bytes a second: over
// all looks, or over the youngest that are far enough apart, whichever is more,
// for a leak that began between them and a statistic that lags. It is not known
// while all looks are too near to one another.
func (g *glance) growth() (rate float64, known bool) {
	newest := g.n - 1
	for i := newest - 1; i >= 0; i-- {
		elapsed := g.at[newest] - g.at[i]
		if elapsed < baselineLeast {
			continue
		}
		r := (float64(g.bytes[newest]) - float64(g.bytes[i])) * 1e9 / float64(elapsed)
		if !known || i == 0 {
			rate = max(rate, r)
		}
		known = true
	}
	return rate, known
}

// examine ranks the leading growers, looks closer at them and projects their
// harm. The result is sorted by effective growth, fastest first.
func (p *Policy) examine(s *arc.Sample, inspector Inspector) []candidate {
	now := s.Taken
	p.growers = p.growth.growers(p.cfg.MinGrowth, p.growers)
	p.candidates = p.candidates[:0]
	near := p.stalled > p.cfg.StallBudget && !p.containing()
	for _, g := range p.growers {
		if len(p.candidates) == MaxInspected {
			break
		}
		id := p.growth.ids[g.slot]
		if p.leaseOf(id) != nil || p.above(g.slot) {
			continue
		}
		c := candidate{slot: g.slot, id: id, own: g.own, effective: g.own, harm: p.growth.project(g.slot, g.own, s)}
		near = near || c.harm.Exhaustion <= p.cfg.Horizon
		p.candidates = append(p.candidates, c)
	}
	if !near {
		return p.candidates
	}
	for i := range p.candidates {
		c := &p.candidates[i]
		g := p.look(c.id, now, inspector)
		c.look, c.blind = g.look, g.failed
		if rate, known := g.growth(); known && !c.blind {
			c.effective = min(c.own, rate)
		} else {
			c.unsure = !c.blind
		}
		c.harm = p.growth.project(c.slot, c.effective, s)
		for k := i; k > 0 && p.candidates[k-1].effective < p.candidates[k].effective; k-- {
			p.candidates[k-1], p.candidates[k] = p.candidates[k], p.candidates[k-1]
		}
	}
	return p.candidates
}

// above says that a lease is held below slot: its growth is that lease's.
func (p *Policy) above(slot int32) bool {
	for i := range p.leases {
		at, ok := p.growth.slots[p.leases[i].cgroup]
		for depth := 0; ok && at >= 0 && depth < maxDepth; depth++ {
			if at = p.growth.parent(at); at == slot {
				return true
			}
		}
	}
	return false
}

// verdict is what an evaluation came to: an order about the leading candidate,
// a cause to decline, or neither (not yet).
type verdict struct {
	order  bool
	cause  Cause
	lead   *candidate
	second float64 // growth of the runner-up
	detail string
}

// judge applies harm and attribution to the candidates.
func (p *Policy) judge(s *arc.Sample, candidates []candidate) verdict {
	stalling := p.stalled > p.cfg.StallBudget && !p.containing()
	if len(candidates) == 0 {
		if stalling {
			return verdict{cause: CauseNoCulprit}
		}
		return verdict{cause: CauseNoHarm}
	}
	lead := p.leading(candidates)
	v := verdict{lead: lead}
	for i := range candidates {
		if c := &candidates[i]; c != lead {
			v.second = max(v.second, c.effective)
		}
	}
	lead.harm.Stall = p.stalled
	harm := lead.harm.Exhaustion <= p.cfg.Horizon
	if !harm && stalling {
		harm, lead.harm.Kind = true, HarmStall
	}
	switch {
	case lead.unsure:
		return v // one more look, at a later tick
	case lead.blind && harm:
		v.cause = CauseUninspectable
		return v
	case !harm:
		v.cause = CauseNoHarm
		if c := p.caching(candidates, s); c != nil {
			v.cause, v.lead = CausePageCache, c
		}
		return v
	case lead.effective < p.cfg.MinGrowth:
		v.cause, v.lead = CauseNoCulprit, nil
		return v
	}
	if by, protected := p.safelist.Protects(lead.look.Path); protected || !lead.look.Populated {
		v.cause, v.detail = CauseProtected, by
		if !protected {
			v.detail = "it has no process"
		}
		return v
	}
	usage := s.Cgroups.Value(arc.CgroupMemoryUsage, int(p.growth.row[lead.slot]))
	if high := s.Cgroups.Value(arc.CgroupMemoryHigh, int(p.growth.row[lead.slot])); high <= roundUp(usage) {
		v.cause = CauseLimited
		return v
	}
	m := p.history.of(lead.id, lead.look.Name, s.Taken)
	switch {
	case m.lost >= 2 || m.banned == p.episode:
		v.cause = CauseGivenUp
	case s.Taken < m.retryAt:
		return v // too early after a refusal or a release, which is recorded
	case p.young(lead, m, s):
		v.cause = CauseGrace
	case v.second*p.cfg.Margin > lead.effective:
		v.cause = CauseMargin
	case len(p.leases) >= p.cfg.MaxLeases:
		v.cause = CauseFull
	default:
		// Not yet, when it pauses at this moment: it may have settled.
		v.order = p.growth.ongoing(lead.slot, lead.effective)
	}
	return v
}

// young says that startup grace excuses the growth of c.
func (p *Policy) young(c *candidate, m *memory, s *arc.Sample) bool {
	if c.look.Age < 0 || c.look.Age >= p.cfg.StartupGrace || s.Taken < m.graceless {
		return false
	}
	// Its own stalls are its own affair; the others' are not.
	others := p.stalled
	if row := int(p.growth.row[c.slot]); s.Cgroups.Value(arc.CgroupPressureMemorySome, row) != arc.Absent {
		others = max(others-p.ownStall(c, s), 0)
	}
	if others > p.cfg.StallBudget {
		return false
	}
	if !m.excused {
		m.excused, m.oomKills = true, s.Node[arc.NodeOOMKills]
	}
	return true
}

// ownStall measures the stall of the candidate under suspicion itself.
func (p *Policy) ownStall(c *candidate, s *arc.Sample) float64 {
	if p.suspect != c.id {
		p.suspect, p.suspectStall = c.id, stall{}
	}
	return p.suspectStall.observe(s.Taken, float64(s.Cgroups.Value(arc.CgroupPressureMemorySome, int(p.growth.row[c.slot])))/1e9)
}

// leading returns the fastest grower that does harm, or the fastest.
func (p *Policy) leading(candidates []candidate) *candidate {
	for i := range candidates {
		if candidates[i].harm.Exhaustion <= p.cfg.Horizon {
			return &candidates[i]
		}
	}
	return &candidates[0]
}

// caching returns the candidate whose growth would be harm if it were not page
// cache, or nil.
func (p *Policy) caching(candidates []candidate, s *arc.Sample) *candidate {
	for i := range candidates {
		c := &candidates[i]
		if c.effective < c.own/2 && p.growth.project(c.slot, c.own, s).Exhaustion <= p.cfg.Horizon {
			return c
		}
	}
	return nil
}

// say puts a verdict to decline into a sentence.
func (v verdict) say() string {
	if v.lead == nil {
		if v.cause == CauseNoCulprit {
			return "tasks stall on memory but no cgroup grows: nobody to contain"
		}
		return "anomalous, but no memory runs out: watching only"
	}
	where, grows := v.lead.look.Path, bytes(v.lead.own)+"/s"
	if where == "" {
		where = fmt.Sprintf("cgroup %d", v.lead.id)
	}
	switch v.cause {
	case CauseNoHarm:
		return fmt.Sprintf("%s grows %s, %s: no harm within the horizon", where, grows, v.lead.harm.describe())
	case CauseUninspectable:
		return fmt.Sprintf("%s grows %s but cannot be inspected", where, grows)
	case CauseProtected:
		return fmt.Sprintf("%s grows %s but is never contained: %s", where, grows, v.detail)
	case CausePageCache:
		return fmt.Sprintf("%s grows %s, but by page cache, which the kernel takes back", where, grows)
	case CauseGrace:
		return fmt.Sprintf("%s grows %s, but it started %s ago: growth at startup is no harm", where, grows, v.lead.look.Age.Round(time.Second))
	case CauseMargin:
		return fmt.Sprintf("%s grows %s, but the runner-up grows %s/s: no single culprit", where, bytes(v.lead.effective)+"/s", bytes(v.second))
	case CauseLimited:
		return fmt.Sprintf("%s grows %s, but its own memory.high already holds it", where, grows)
	case CauseGivenUp:
		return fmt.Sprintf("%s grows %s, but it is left alone: its lease was lost or has come to its end", where, grows)
	case CauseFull:
		return fmt.Sprintf("%s grows %s, but as many leases as allowed are held", where, grows)
	case CauseStale:
		return "the input had a gap: escalation waits for fresh ticks"
	}
	return ""
}
