// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// ioRules: others wait for I/O; who moves more bytes than it has on average gets
// less weight, where weights work, and then a cap on its device. Bytes per cgroup
// are too costly to follow all the time, so they are looked at once others wait.
type ioRules struct {
	everlasting
	cfg        *Config
	waits      *rates // PSI some, as a share of time
	node       flow   // the same of the node
	operations flow   // block requests
	busy       flow   // time between issue and completion of them

	pressure   pressure
	looks      looks
	ranks      []grower
	candidates []candidate
}

func newIORules(t *table, cfg *Config) *ioRules {
	return &ioRules{
		cfg: cfg, waits: newRates(t, 1e-9, arc.CgroupPressureIOSome),
		ranks: make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
	}
}

var (
	ioWeight   = rung{LevelContainment, arc.ActionIOWeight, 3 * time.Second}
	ioMaxRead  = rung{LevelPressure, arc.ActionIOMaxRead, 2 * time.Second}
	ioMaxWrite = rung{LevelPressure, arc.ActionIOMaxWrite, 2 * time.Second}

	ioLadder   = []rung{ioWeight}
	ioReads    = []rung{ioWeight, ioMaxRead}
	ioWrites   = []rung{ioWeight, ioMaxWrite}
	ioReadsToo = []rung{ioWeight, ioMaxWrite, ioMaxRead}
	ioWriteToo = []rung{ioWeight, ioMaxRead, ioMaxWrite}
)

// ladder caps the direction that moves more, and the other one if it moves a
// quarter of all.
func (*ioRules) ladder(c *candidate) []rung {
	both := min(c.read, c.write)*4 >= c.read+c.write
	switch {
	case c.look.Device == 0:
		return ioLadder // no device to cap is known
	case c.read > c.write && both:
		return ioWriteToo
	case c.read > c.write:
		return ioReads
	case both:
		return ioReadsToo
	}
	return ioWrites
}

func (*ioRules) name() Resource { return IO }

func (o *ioRules) observe(s *arc.Sample, learn bool) {
	o.waits.follow(s.Taken, &s.Cgroups, learn)
	o.node.observe(s.Taken, s.Node[arc.NodePressureIOSome], learn)
	o.operations.observe(s.Taken, s.Node[arc.NodeBlockOperations], learn)
	o.busy.observe(s.Taken, s.Node[arc.NodeBlockTime], learn)
	if learn {
		o.pressure = pressure{}
	}
}

const (
	// byWaiting of the cgroups looked at are those that wait for I/O most, which
	// who moves much does himself; the rest are those that grow fastest, in page
	// cache as a rule.
	byWaiting = 5
	// slower is by how much block requests take longer than usual before that
	// stands for the waiting of others where it is not known by cgroup.
	slower = 8
)

// examine looks at who waits and who grows and sorts them by the bytes they move
// beyond their average, most first.
func (o *ioRules) examine(p *Policy, s *arc.Sample, inspector Inspector) []candidate {
	o.candidates = o.candidates[:0]
	o.ranks = o.waits.growers(o.waits, noise, o.ranks)
	o.gather(p, byWaiting, s, inspector)
	o.ranks = p.memory.growers(p.memory.growth, o.cfg.MinGrowth, o.ranks)
	o.gather(p, MaxInspected, s, inspector)
	return o.candidates
}

func (o *ioRules) gather(p *Policy, most int, s *arc.Sample, inspector Inspector) {
	for _, g := range o.ranks {
		if len(o.candidates) >= most {
			return
		}
		id := o.waits.ids[g.slot]
		if p.above(IO, g.slot) || o.has(id) || p.leaseOf(Memory, id) != nil {
			continue // what a memory ceiling makes it read and write is not its own
		}
		c := candidate{slot: g.slot, id: id}
		at := o.looks.look(id, AspectIO, s.Taken, inspector)
		c.look, c.blind = at.look, at.failed
		var known bool
		c.read, c.write, known = at.flow()
		c.unsure = !known && !c.blind
		if c.look.Age > 0 {
			c.usual = float64(c.look.ReadBytes+c.look.WriteBytes) / max(c.look.Age.Seconds(), usualOver)
		}
		c.own = max(c.read+c.write-c.usual, 0)
		c.effective = c.own
		i := len(o.candidates)
		for o.candidates = append(o.candidates, c); i > 0 && o.candidates[i-1].effective < c.effective; i-- {
			o.candidates[i] = o.candidates[i-1]
		}
		o.candidates[i] = c
	}
}

func (o *ioRules) has(id uint64) bool {
	for i := range o.candidates {
		if o.candidates[i].id == id {
			return true
		}
	}
	return false
}

func (o *ioRules) judge(p *Policy, s *arc.Sample, inspector Inspector) verdict {
	v := verdict{resource: IO, cause: CauseNoHarm}
	// Where memory is short, everybody waits for I/O: for pages that were taken
	// from him. Who reads most then is a victim.
	if o.node.now < o.cfg.IOStallBudget || p.memory.stalling(p) || p.verdicts[Memory].pressed {
		o.pressure = pressure{}
		return v
	}
	candidates := o.examine(p, s, inspector)
	slot, lead := int32(-1), (*candidate)(nil)
	if len(candidates) > 0 {
		lead = &candidates[0]
		slot = lead.slot
	}
	share, known := p.others(o.waits, nil, nil, slot)
	if !known {
		share = o.slowed()
	}
	if share < o.cfg.IOStallBudget {
		o.pressure = pressure{}
		return v
	}
	v.pressed, v.cause = true, CauseNone
	if lead == nil || !lead.unsure && lead.effective < o.cfg.MinIO && !o.braked(p, lead) {
		v.cause = CauseNoCulprit
		return v
	}
	v.lead, v.second = lead, runnerUp(candidates, lead)
	lead.harm = Harm{Kind: HarmIO, Available: arc.Unlimited, Limit: arc.Unlimited, Growth: lead.own, Exhaustion: Never, Stall: share}
	o.pressure.add(lead.id, s.Taken, share/o.cfg.IOStallBudget)
	if lead.unsure || !o.pressure.worsens(s.Taken, o.cfg.Sustain) || !p.aimable(&v) {
		return v
	}
	p.admit(o, &v, p.young(IO, lead, s.Taken) && share < starved, s)
	return v
}

// braked says that a cap holds c back: what it takes from it c would move, however
// little the cap leaves.
func (o *ioRules) braked(p *Policy, c *candidate) bool {
	for i := range p.leases {
		if l := &p.leases[i]; l.cgroup == c.id && l.resource == IO && l.tighter() && o.waits.rate(c.slot) >= stillWaiting {
			return c.effective > 0
		}
	}
	return false
}

// slowed is the node's waiting, where block requests take much longer than usual,
// for kernels that do not tell who waits.
func (o *ioRules) slowed() float64 {
	if o.operations.now <= 0 || o.operations.usual <= 0 || o.busy.usual <= 0 ||
		o.busy.now/o.operations.now < slower*o.busy.usual/o.operations.usual {
		return 0
	}
	return min(o.node.more(), 1)
}

// leastFlow is the least cap ordered, in bytes a second.
const leastFlow = 1 << 20

func (o *ioRules) restart() { o.pressure.restart() }

func (o *ioRules) open(_ *Policy, l *lease, c *candidate, _ *arc.Sample) {
	o.restart()
	l.caught = catch{usual: c.usual, rate: c.read + c.write}
	switch l.action {
	case arc.ActionIOMaxRead:
		l.brakeAt(uint64(c.read/2), leastFlow)
	case arc.ActionIOMaxWrite:
		l.brakeAt(uint64(c.write/2), leastFlow)
	default:
		l.parameter = o.cfg.Weight
	}
}

// stillWaiting is the share of time above which who is held back wants more. The
// kernel counts a task that a cap makes wait as stalled on I/O.
const stillWaiting = 0.1

// press says that the cgroup waits for I/O itself, for more than it gets; where
// that is not known, that block requests still take long.
func (o *ioRules) press(p *Policy, l *lease, slot int32, s *arc.Sample, _ int64) (pressing, known bool) {
	if l.parameter < l.first {
		share, known := p.others(o.waits, nil, nil, slot)
		if !known {
			share = o.slowed()
		}
		p.ease(l, share, o.cfg.IOStallBudget, s.Taken)
	}
	if !o.waits.known(slot) {
		return o.slowed() >= o.cfg.IOStallBudget, true
	}
	return o.waits.rate(slot) >= stillWaiting, true
}

func (o *ioRules) say(v *verdict) string {
	if v.lead == nil {
		if v.cause == CauseNoCulprit {
			return "others wait for I/O but no cgroup moves more than usual: nobody to contain"
		}
		return "nobody is kept waiting for I/O"
	}
	where, moves := v.lead.where(), fmt.Sprintf("reads %s/s and writes %s/s", bytes(v.lead.read), bytes(v.lead.write))
	switch v.cause {
	case CauseNone:
		return fmt.Sprintf("%s %s (runner-up %s/s), %s", where, moves, bytes(v.second), v.lead.harm.String())
	case CauseMargin:
		return fmt.Sprintf("%s %s, but the runner-up moves %s/s: no single culprit", where, moves, bytes(v.second))
	}
	return v.sayCommon(where + " " + moves)
}
