// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// networkRules: packets come or go faster than the node can take them: it drops
// them, or spends its CPUs on software interrupts. Who sends is throttled; where
// they come from outside, every source is, at the interface.
type networkRules struct {
	everlasting
	cfg *Config

	received, sent, dropsIn, dropsOut, softIRQ, opens flow
	packets, bytes                                    *rates // sent, by cgroup

	pressure   pressure
	looks      looks
	link       Interface
	asked      int64
	blind      bool
	ranks      []grower
	candidates []candidate
	flood      candidate
}

func newNetworkRules(t *table, cfg *Config) *networkRules {
	return &networkRules{
		cfg: cfg, packets: newRates(t, 1, arc.CgroupPacketsSent), bytes: newRates(t, 1, arc.CgroupBytesSent),
		ranks: make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
	}
}

var (
	networkLadder = []rung{
		{LevelIsolation, arc.ActionNetworkThrottle, 2 * time.Second},
		{LevelQuarantine, arc.ActionQuarantine, 2 * time.Second},
	}
	floodLadder = []rung{{LevelIsolation, arc.ActionShield, 2 * time.Second}}
)

func (*networkRules) ladder(c *candidate) []rung {
	if c.link.Index != 0 {
		return floodLadder
	}
	return networkLadder
}

func (*networkRules) name() Resource { return Network }

func (n *networkRules) observe(s *arc.Sample, learn bool) {
	n.packets.follow(s.Taken, &s.Cgroups, learn)
	n.bytes.follow(s.Taken, &s.Cgroups, learn)
	for _, f := range [...]struct {
		flow  *flow
		field arc.NodeField
	}{
		{&n.received, arc.NodePacketsReceived},
		{&n.sent, arc.NodePacketsSent},
		{&n.dropsIn, arc.NodeDropsReceived},
		{&n.dropsOut, arc.NodeDropsSent},
		{&n.softIRQ, arc.NodeCPUSoftIRQ},
		{&n.opens, arc.NodeTCPOpens},
	} {
		f.flow.observe(s.Taken, s.Node[f.field], learn)
	}
	if learn {
		n.pressure = pressure{}
	}
}

// surge says that a flow is far above what is usual for it.
func (n *networkRules) surge(f *flow) bool {
	return f.more() >= max(n.cfg.MinPackets, 2*f.usual)
}

// strain is how badly the node does with a direction; 1 is as much as is put up
// with.
func (n *networkRules) strain(drops *flow) float64 {
	return max(drops.more()/n.cfg.DropBudget, n.softIRQ.more()/n.cfg.SoftIRQBudget)
}

// begun is how many connections a second more than usual are begun here by whom
// the answers to them do not come unasked.
const begun = 500

// judge tells who began it: what is answered with as many packets is a flood
// from outside, and who answers its victim, unless the node began the
// connections.
func (n *networkRules) judge(p *Policy, s *arc.Sample, inspector Inspector) verdict {
	v := verdict{resource: Network, cause: CauseNoHarm}
	out := n.surge(&n.sent) && (n.sent.more() > 2*n.received.more() || n.opens.more() >= begun)
	switch {
	case out && n.strain(&n.dropsOut) >= 1:
		n.sender(&v, p, s, inspector)
	case !out && n.surge(&n.received) && n.strain(&n.dropsIn) >= 1:
		n.flooded(&v, s, inspector)
	default:
		n.pressure = pressure{}
		return v
	}
	if v.cause != CauseNone || !n.pressure.worsens(s.Taken, n.cfg.Sustain) || !p.aimableOrLink(&v) {
		return v
	}
	p.admit(n, &v, v.lead.link.Index == 0 && p.young(Network, v.lead, s.Taken), s)
	return v
}

// aimableOrLink is aimable; an interface is on no safelist but the guard's.
func (p *Policy) aimableOrLink(v *verdict) bool { return v.lead.link.Index != 0 || p.aimable(v) }

// sender accuses the cgroup that sends most beyond what is usual.
func (n *networkRules) sender(v *verdict, p *Policy, s *arc.Sample, inspector Inspector) {
	v.pressed, v.cause = true, CauseNone
	n.ranks = n.packets.growers(n.packets, n.cfg.MinPackets/10, n.ranks)
	n.candidates = n.candidates[:0]
	for _, g := range n.ranks {
		if len(n.candidates) < MaxInspected && !p.above(Network, g.slot) {
			n.candidates = append(n.candidates, candidate{slot: g.slot, id: n.packets.ids[g.slot], own: g.own, effective: g.own})
		}
	}
	if len(n.candidates) == 0 || n.candidates[0].own < n.sent.more()/2 {
		v.cause = CauseNoCulprit // or the kernel does not count by cgroup
		return
	}
	c := &n.candidates[0]
	v.lead, v.second = c, runnerUp(n.candidates, c)
	c.harm = Harm{Kind: HarmEgress, Available: arc.Unlimited, Limit: arc.Unlimited, Growth: c.own, Exhaustion: Never}
	n.pressure.add(c.id, s.Taken, n.strain(&n.dropsOut))
	g := n.looks.look(c.id, 0, s.Taken, inspector)
	c.look, c.blind = g.look, g.failed
}

// askEvery is the least time between two questions about the interfaces.
const askEvery = 200 * int64(time.Millisecond)

// flooded accuses nobody: it names the interface through which it comes.
func (n *networkRules) flooded(v *verdict, s *arc.Sample, inspector Inspector) {
	v.pressed, v.cause = true, CauseNone
	if s.Taken-n.asked >= askEvery {
		n.asked = s.Taken
		n.blind = inspector == nil
		if !n.blind {
			link, err := inspector.Flooded()
			n.link, n.blind = link, err != nil
		}
	}
	more := n.received.more()
	n.flood = candidate{slot: -1, own: more, effective: more, blind: n.blind, link: n.link}
	n.flood.harm = Harm{Kind: HarmIngress, Available: arc.Unlimited, Limit: arc.Unlimited, Growth: more, Exhaustion: Never}
	v.lead = &n.flood
	if n.blind || n.link.Index == 0 {
		n.flood.link, v.cause = Interface{}, CauseUninspectable
		return
	}
	n.pressure.add(0, s.Taken, n.strain(&n.dropsIn))
}

const (
	// leastThrottle is the least a cgroup is throttled to, in bytes a second.
	leastThrottle = 128 << 10
	// leastPerSource is the least a source is held to, in packets a second.
	leastPerSource = 1000
)

func (n *networkRules) open(_ *Policy, l *lease, c *candidate, _ *arc.Sample) {
	n.pressure.restart()
	switch l.action {
	case arc.ActionShield:
		// Twice what everybody together usually sends hurts nobody of them.
		l.parameter = max(uint64(2*n.received.usual), leastPerSource)
	case arc.ActionNetworkThrottle:
		// What brings it well below a surge, at the size of its packets.
		usual, _ := n.bytes.usual(c.slot)
		calm := n.bytes.now(c.slot) * n.cfg.MinPackets / 2 / max(n.packets.now(c.slot), 1)
		l.parameter = max(uint64(max(2*usual, calm)), leastThrottle)
	}
}

// press says that it goes on: packets still come, or are still sent, at more than
// half of what counts as a surge, or at nearly what the throttle lets through. A
// quarantine lets nothing be seen and lasts until it is tried without.
func (n *networkRules) press(_ *Policy, l *lease, slot int32, _ *arc.Sample, _ int64) (pressing, known bool) {
	switch l.action {
	case arc.ActionShield:
		return n.received.more() >= n.cfg.MinPackets/2 || n.dropsIn.more() >= n.cfg.DropBudget, true
	case arc.ActionQuarantine:
		return true, true
	}
	return n.packets.rate(slot) >= n.cfg.MinPackets/2 || n.bytes.now(slot) >= 0.8*float64(l.parameter), n.packets.known(slot)
}

func (n *networkRules) say(v *verdict) string {
	if v.lead == nil {
		if v.cause == CauseNoCulprit {
			return "packets are sent faster than the node can send them, but by no single cgroup: nobody to contain"
		}
		return "the node keeps up with its packets"
	}
	where := v.lead.where()
	if v.lead.harm.Kind == HarmIngress {
		if v.cause == CauseUninspectable {
			return v.lead.harm.String() + ", through no interface that is known"
		}
		if v.cause == CauseNone {
			return where + " is flooded: " + v.lead.harm.String()
		}
		return v.sayCommon(where + " is flooded")
	}
	sends := fmt.Sprintf("sends %s packets/s more than usual", count(v.lead.own))
	switch v.cause {
	case CauseNone:
		return fmt.Sprintf("%s %s (runner-up %s)", where, sends, count(v.second))
	case CauseMargin:
		return fmt.Sprintf("%s %s, but the runner-up %s: no single culprit", where, sends, count(v.second))
	}
	return v.sayCommon(where + " " + sends)
}
