// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// memoryRules: memory runs out, or tasks stall on it; who grows in memory that
// only its owner can free is held by a moving memory.high.
type memoryRules struct {
	*growth
	long   window // what growth that does harm later must have lasted in
	habits *habits
	news   *news
	jobs   *jobs
	cfg    *Config

	kills   float64 // OOM kills, and until when what falls does so by one
	falling int64

	psi      stall
	stalled  float64
	waits    *rates // PSI some, as a share of time
	approach approach

	looks      looks
	ranks      []grower
	candidates []candidate
	urgent     []*candidate
}

func newMemoryRules(t *table, cfg *Config) *memoryRules {
	g := newGrowth(t, arc.CgroupMemoryUsage)
	m := &memoryRules{
		growth: g, long: newWindow(longStep, longSpan, longStep), habits: newHabits(g), news: newNews(t), jobs: newJobs(t), cfg: cfg,
		waits: newRates(t, 1e-9, arc.CgroupPressureMemorySome),
		ranks: make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
	}
	t.add(&m.long, 0)
	return m
}

func (*memoryRules) name() Resource { return Memory }

func (m *memoryRules) observe(s *arc.Sample, learn bool) {
	m.follow(s.Taken, &s.Cgroups)
	m.long.observe(s.Taken, s.Cgroups.Columns[m.column], m.last)
	m.waits.follow(s.Taken, &s.Cgroups, learn)
	m.stalled = m.psi.observe(s.Taken, s.Node[arc.NodePressureMemorySome])
	if kills := s.Node[arc.NodeOOMKills]; kills > m.kills {
		m.kills, m.falling = kills, s.Taken+aftermath
	}
	m.news.observe(s.Taken, s, learn)
	m.jobs.observe(s.Taken, s)
	m.habits.observe(s.Taken, s, m.stalled <= m.cfg.StallBudget && s.Taken >= m.falling)
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
	available, limit, kind, _ = m.narrowest(slot, s)
	return available, limit, kind
}

// narrowest is headroom, and whose limit it is: a cgroup's, or the node's, which is
// -1.
func (m *memoryRules) narrowest(slot int32, s *arc.Sample) (available, limit uint64, kind HarmKind, whose int32) {
	available, limit, whose = m.table.headroom(slot, arc.CgroupMemoryUsage, arc.CgroupMemoryMax, s)
	if limit < arc.Unlimited {
		kind = HarmLimit
	}
	if node, total, known := nodeMemory(s); known && node < available {
		return node, total, HarmNode, -1
	}
	return available, limit, kind, whose
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

// threaten projects the harm of c's growth, unless that is expected of it.
func (m *memoryRules) threaten(c *candidate, s *arc.Sample) {
	available, limit, kind := m.headroom(c.slot, s)
	usage := m.value(s, arc.CgroupMemoryUsage, c.slot)
	if firm := c.look.Unreclaimable(); kind == HarmLimit && firm > 0 && firm < usage {
		// Page cache makes room before a limit does harm. Of the node's memory it is
		// counted as available anyway.
		available += usage - firm
	}
	c.harm, c.expected, c.early = exhaust(kind, available, limit, c.effective), false, false
	switch {
	case c.harm.Exhaustion > m.cfg.Horizon:
	case m.habits.expects(c.slot, m.table.taken(s, c.slot), c.harm.Available):
		c.harm.Exhaustion, c.expected = Never, true
	default:
		c.early = !m.lasts(c.slot, &c.harm)
	}
}

// begins says that the growth of c may be that of a job which has just been started in
// it, and that there is time to see: startup grace for who is not young. Who was
// contained not long ago has none.
func (m *memoryRules) begins(p *Policy, c *candidate, now int64) bool {
	return c.harm.Exhaustion > imminent && m.jobs.begun(c.slot, now) && now >= p.history.of(c.id, c.look.Name, now).graceless[Memory]
}

// aftermath is for how long what falls after an OOM kill is taken to fall by it.
const aftermath = 10 * int64(time.Second)

const (
	longStep = int64(time.Second)
	longSpan = 28 * longStep // lasting of [longestHorizon]
	// longestHorizon is that of growth whose lasting can be seen.
	longestHorizon = time.Minute
	// lasting is which part of the time that is left growth has lasted already when
	// it is taken for what will go on, if that is the whole horizon. Of less time it
	// is less, by its square: with a quarter of the horizon left, a fortieth of that.
	// So a leak that is fatal in seconds is believed at once, while one that would take a
	// minute has time for more evidence than a service that warms up will give.
	lasting = 0.4
)

// lasts says that harm is within the horizon at the growth of as long as is to be
// asked for, too.
func (m *memoryRules) lasts(slot int32, harm *Harm) bool {
	horizon := min(m.cfg.Horizon, longestHorizon).Seconds()
	left := min(harm.Exhaustion.Seconds(), horizon)
	asked := lasting * left * (left / horizon) * (left / horizon)
	if asked < float64(longStep)/1e9 {
		return true // what growth is measured over is longer
	}
	rate, known := m.long.since(slot, int64(asked*1e9))
	return known && exhaust(harm.Kind, harm.Available, harm.Limit, rate).Exhaustion <= m.cfg.Horizon
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
		m.threaten(&c, s)
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
		m.threaten(c, s)
		c.early = c.early || m.begins(p, c, s.Taken)
		for k := i; k > 0 && m.candidates[k-1].effective < m.candidates[k].effective; k-- {
			m.candidates[k-1], m.candidates[k] = m.candidates[k], m.candidates[k-1]
		}
	}
	return m.candidates
}

// strange says who does what it has never done, to the harm of somebody, "" for
// nobody.
func (m *memoryRules) strange(p *Policy, s *arc.Sample, inspector Inspector) string {
	candidates := m.examine(p, s, inspector)
	for i := range candidates {
		c := &candidates[i]
		if c.harm.Exhaustion <= m.cfg.Horizon && !c.early && !c.unsure && !c.blind && c.effective >= m.cfg.MinGrowth &&
			m.news.tells(c.slot, s.Taken, m.table.taken(s, c.slot)) {
			return fmt.Sprintf("%s uses more memory than it ever has: it grows %s/s, %s", c.where(), bytes(c.effective), c.harm.String())
		}
	}
	return ""
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

// suspects looks into every limit that runs out, the soonest first: who does harm
// to itself alone is not excused by what others do elsewhere.
func (m *memoryRules) suspects(p *Policy, candidates []candidate, s *arc.Sample) verdict {
	stalling := m.stalling(p)
	if len(candidates) == 0 {
		if stalling {
			return verdict{resource: Memory, pressed: true, cause: CauseNoCulprit}
		}
		return verdict{resource: Memory, cause: CauseNoHarm}
	}
	var told verdict
	m.urgent = m.urgent[:0]
	for i := range candidates {
		switch c := &candidates[i]; {
		case c.harm.Exhaustion > m.cfg.Horizon:
		case !c.early:
			m.urgent = append(m.urgent, c)
		case told.lead == nil:
			told = verdict{resource: Memory, lead: c} // not yet
		}
	}
	slices.SortStableFunc(m.urgent, func(a, b *candidate) int { return cmp.Compare(a.harm.Exhaustion, b.harm.Exhaustion) })
	for i, c := range m.urgent {
		v := m.accuse(p, c, candidates, s)
		if v.order {
			return v
		}
		if i == 0 {
			told = v
		}
	}
	lead := &candidates[0]
	switch {
	case len(m.urgent) > 0:
		return told
	case stalling:
		if lead.harm.Kind = HarmStall; m.suffered(p, lead) > m.cfg.StallBudget {
			return m.accuse(p, lead, candidates, s)
		}
		lead.harm.Stall = m.stalled
		return verdict{resource: Memory, lead: lead, cause: CauseAlone}
	case told.lead != nil:
		return told
	}
	v := verdict{resource: Memory, lead: lead, second: runnerUp(candidates, lead)}
	lead.harm.Stall = m.stalled
	switch c := m.caching(candidates, s); {
	case lead.unsure:
	case lead.expected:
		v.cause = CauseExpected
	case c != nil:
		v.cause, v.lead = CausePageCache, c
	default:
		v.cause = CauseNoHarm
	}
	return v
}

// accuse applies attribution to a candidate that does harm.
func (m *memoryRules) accuse(p *Policy, lead *candidate, candidates []candidate, s *arc.Sample) verdict {
	v := verdict{resource: Memory, lead: lead, second: m.rival(candidates, lead, s), pressed: true}
	lead.harm.Stall = m.stalled
	switch {
	case lead.unsure:
		return v // one more look, at a later tick
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

// rival is the growth of the runner-up: of who else grows within the limit that
// runs out. A cgroup that meets its own has none but those above and below it.
func (m *memoryRules) rival(candidates []candidate, lead *candidate, s *arc.Sample) (second float64) {
	_, _, _, whose := m.narrowest(lead.slot, s)
	if lead.harm.Kind == HarmStall {
		whose = -1
	}
	for i := range candidates {
		c := &candidates[i]
		if c != lead && !c.expected && (whose < 0 || m.below(c.slot, whose)) {
			second = max(second, c.effective)
		}
	}
	return second
}

// graced says that startup grace excuses the growth of c: its own stalls are its
// own affair, the others' are not.
func (m *memoryRules) graced(p *Policy, c *candidate, s *arc.Sample) bool {
	return p.young(Memory, c, s.Taken) && m.suffered(p, c) <= m.cfg.StallBudget
}

// suffered is the share of time in which others stall on memory than c, beyond what
// is usual for them; where the kernel does not count by cgroup, in which anybody does.
func (m *memoryRules) suffered(p *Policy, c *candidate) float64 {
	if share, known := p.others(m.waits, nil, nil, c.slot); known {
		return min(share, m.stalled)
	}
	return m.stalled
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
	case CauseAlone:
		return fmt.Sprintf("%s grows %s, and its tasks stall on memory: nobody else's do", where, grows)
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
