// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// cpuRules: others wait for a CPU; who uses more CPU time than usual gets less
// weight, which costs nothing while nobody else wants the CPU, and then a quota.
type cpuRules struct {
	everlasting
	cfg    *Config
	times  *rates // CPU time, in CPUs
	bursts *bursts
	waits  *rates // PSI some, as a share of time
	// throttled is the time quotas keep it from running, which is waiting, too.
	throttled *rates
	node      flow // the same of the node

	pressure   pressure
	looks      looks
	ranks      []grower
	candidates []candidate
}

func newCPURules(t *table, cfg *Config) *cpuRules {
	times := newRates(t, 1e-9, arc.CgroupCPUTime)
	return &cpuRules{
		cfg: cfg, times: times, bursts: newBursts(times), waits: newRates(t, 1e-9, arc.CgroupPressureCPUSome),
		throttled: newRates(t, 1e-9, arc.CgroupCPUThrottledTime),
		ranks:     make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
	}
}

// cpuLadder: a weight works at the next wake-up, a quota within its period of
// 100 ms; both show in a window of a second.
var cpuLadder = []rung{
	{LevelContainment, arc.ActionCPUWeight, 2 * time.Second},
	{LevelPressure, arc.ActionCPUMax, 2 * time.Second},
}

func (*cpuRules) name() Resource           { return CPU }
func (*cpuRules) ladder(*candidate) []rung { return cpuLadder }

func (c *cpuRules) observe(s *arc.Sample, learn bool) {
	c.times.follow(s.Taken, &s.Cgroups, learn)
	c.bursts.observe(s.Taken, c.cfg.MinCPU)
	c.waits.follow(s.Taken, &s.Cgroups, learn)
	c.throttled.follow(s.Taken, &s.Cgroups, learn)
	c.node.observe(s.Taken, s.Node[arc.NodePressureCPUSome], learn)
	if learn {
		c.pressure = pressure{}
	}
}

// judge looks for who keeps others waiting. That tasks wait for a CPU harms
// nobody by itself: a build does so to its own. It takes others who wait longer
// than is usual for them.
func (c *cpuRules) judge(p *Policy, s *arc.Sample, inspector Inspector) verdict {
	v := verdict{resource: CPU, cause: CauseNoHarm}
	// Who uses more than usual without being allowed more is no news.
	if c.node.now < c.cfg.CPUStallBudget {
		c.pressure = pressure{}
		return v
	}
	c.ranks = c.times.growers(c.times, c.cfg.MinCPU, c.ranks)
	c.candidates = c.candidates[:0]
	for _, g := range c.ranks {
		if len(c.candidates) < MaxInspected && !p.above(CPU, g.slot) {
			usual, _ := c.times.usual(g.slot)
			c.candidates = append(c.candidates, candidate{slot: g.slot, id: c.times.ids[g.slot], own: g.own, effective: g.own, usual: usual})
		}
	}
	c.braked(p)
	if len(c.candidates) == 0 {
		if others, known := p.others(c.waits, c.throttled, c.times, -1); known && others >= c.cfg.CPUStallBudget {
			v.cause, v.pressed = CauseNoCulprit, true
		}
		c.pressure = pressure{}
		return v
	}
	lead := &c.candidates[0]
	v.lead, v.second = lead, runnerUp(c.candidates, lead)
	share, _ := p.others(c.waits, c.throttled, c.times, lead.slot)
	c.pressure.add(lead.id, s.Taken, share/c.cfg.CPUStallBudget)
	lead.harm = Harm{Kind: HarmCPU, Available: arc.Unlimited, Limit: arc.Unlimited, Growth: lead.own, Exhaustion: Never, Stall: share}
	if share < c.cfg.CPUStallBudget {
		return v
	}
	v.pressed, v.cause = true, CauseNone
	// What a flood from outside makes its victim do, software interrupts that are
	// charged to it included, is none of its doing. While a shield is on its way it is
	// the network's harm, and what is left when that has had its effect is judged then.
	besieged := p.network.besieges(p, lead.slot, s.Taken)
	if !besieged && !c.pressure.worsens(s.Taken, c.cfg.Sustain) {
		return v
	}
	if !besieged && share < starved && c.bursts.expects(lead.slot, s.Taken) {
		v.cause = CauseExpected
		return v
	}
	g := c.looks.look(lead.id, 0, s.Taken, inspector)
	if lead.look, lead.blind = g.look, g.failed; besieged {
		c.restart()
		v.cause = CauseFlooded
		return v
	}
	if !p.aimable(&v) {
		return v
	}
	p.admit(c, &v, p.young(CPU, lead, s.Taken) && share < starved, s)
	return v
}

// braked adds, where nobody else is a candidate, who is: what a quota takes from it
// it would use, however little the quota leaves.
func (c *cpuRules) braked(p *Policy) {
	for i := range p.leases {
		l := &p.leases[i]
		if len(c.candidates) > 0 {
			return
		}
		if l.action != arc.ActionCPUMax || !l.tighter() {
			continue
		}
		slot, there := c.times.slots[l.cgroup]
		if !there || c.times.row[slot] < 0 || c.throttled.now(slot) <= noise || c.times.rate(slot) <= 0 || p.above(CPU, slot) {
			continue
		}
		own := c.times.rate(slot)
		usual, _ := c.times.usual(slot)
		c.candidates = append(c.candidates, candidate{slot: slot, id: l.cgroup, own: own, effective: own, usual: usual})
	}
}

// starved is the share of time of waiting at which even what has just started is
// no longer excused: others hardly run at all.
const starved = 0.8

const (
	// leastQuota is the least quota that a lease begins with, in microseconds of CPU
	// time a second, tightestQuota the least that it comes down to, which is the
	// guard's floor.
	leastQuota    = 100_000
	tightestQuota = 50_000
)

func (c *cpuRules) restart() { c.pressure.restart() }

func (c *cpuRules) open(_ *Policy, l *lease, k *candidate, _ *arc.Sample) {
	c.restart()
	l.caught = catch{usual: k.usual, rate: c.times.now(k.slot)}
	if l.parameter = c.cfg.Weight; l.action == arc.ActionCPUMax {
		l.brakeAt(max(uint64(1e6*max(l.caught.rate/2, k.usual)), leastQuota), max(uint64(1e6*k.usual), tightestQuota))
	}
}

// press says that the cgroup wants more than it usually does, or, under a quota,
// than it gets.
func (c *cpuRules) press(p *Policy, l *lease, slot int32, s *arc.Sample, _ int64) (pressing, known bool) {
	if !c.times.known(slot) {
		return false, false
	}
	if l.parameter < l.first {
		share, _ := p.others(c.waits, c.throttled, c.times, slot)
		p.ease(l, share, c.cfg.CPUStallBudget, s.Taken)
	}
	wants := c.times.now(slot) >= l.caught.usual+c.cfg.MinCPU
	if l.action == arc.ActionCPUMax {
		return wants || c.throttled.now(slot) > noise || c.times.now(slot) >= 0.9*float64(l.parameter)/1e6, true
	}
	return wants || min(c.waits.rate(slot), 1) >= c.cfg.CPUStallBudget, true
}

func (c *cpuRules) say(v *verdict) string {
	if v.lead == nil {
		if v.cause == CauseNoCulprit {
			return "others wait for a CPU but no cgroup uses more than usual: nobody to contain"
		}
		return "nobody is kept waiting for a CPU"
	}
	where, uses := v.lead.where(), fmt.Sprintf("uses %.2f CPUs more than usual", v.lead.own)
	switch v.cause {
	case CauseNone:
		return fmt.Sprintf("%s %s (runner-up %.2f), %s", where, uses, v.second, v.lead.harm.String())
	case CauseMargin:
		return fmt.Sprintf("%s %s, but the runner-up %.2f: no single culprit", where, uses, v.second)
	case CauseExpected:
		return fmt.Sprintf("%s %s, for no longer than it has before", where, uses)
	case CauseFlooded:
		return fmt.Sprintf("%s %s to work off a flood from outside: a shield comes first", where, uses)
	}
	return v.sayCommon(where + " " + uses)
}

// work returns how much CPU time a cgroup uses now and usually, in CPUs; usually
// is 0 where that is not known.
func (p *Policy) work(slot int32) (now, usually float64) {
	if slot < 0 || !p.cpu.times.known(slot) {
		return 0, 0
	}
	usually, known := p.cpu.times.usual(slot)
	if !known {
		usually = 0
	}
	return p.cpu.times.now(slot), usually
}
