// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// networkRules: packets come or go faster than the node can take them: it drops
// them, or spends its CPUs on software interrupts; or than what is behind it can:
// TCP has to send again. Who sends is throttled; where they come from outside,
// every source is, at the interface.
type networkRules struct {
	everlasting
	cfg *Config

	received, sent, dropsIn, dropsOut, softIRQ, opens, resent flow
	packets, bytes                                            *rates // sent, by cgroup
	arrivals                                                  *rates // packets received, by cgroup
	flooding                                                  int64  // since when a surge is received; 0 while none is

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
		arrivals: newRates(t, 1, arc.CgroupPacketsReceived),
		ranks:    make([]grower, 0, maxGrowers), candidates: make([]candidate, 0, MaxInspected),
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
	n.arrivals.follow(s.Taken, &s.Cgroups, learn)
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
		{&n.resent, arc.NodeTCPRetransmits},
	} {
		f.flow.observe(s.Taken, s.Node[f.field], learn)
	}
	switch {
	case !n.surge(&n.received):
		n.flooding = 0
	case n.flooding == 0:
		n.flooding = s.Taken
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

// strainOut is the strain of what is sent. Where a queue behind the node drops
// packets, it shows in the segments that TCP has to send again: more than the budget,
// and twice what is usual at least, since a large node loses some at any time. (What
// a queue of the node's own refuses, TCP does not count as sent.) A suspect that is
// answered is a stream, which slows down by itself; what has to be sent again is its
// own then.
func (n *networkRules) strainOut() float64 {
	x := n.strain(&n.dropsOut)
	if len(n.candidates) > 0 && !n.answered(&n.candidates[0]) {
		x = max(x, n.resent.more()/max(n.cfg.RetransmitBudget, n.resent.usual))
	}
	return x
}

// strainIn is the strain of what arrives. Others that wait for the CPU that its
// victim needs to work it off are harmed by who sends it.
func (n *networkRules) strainIn(p *Policy) float64 {
	x := n.strain(&n.dropsIn)
	if v := &p.verdicts[CPU]; v.cause == CauseFlooded {
		x = max(x, v.lead.harm.Stall/n.cfg.CPUStallBudget)
	}
	return x
}

// oneAnswer is to how many packets a stream has one answer at least: the receiver of
// a fast one acknowledges what its network card has joined, up to 64 KiB.
const oneAnswer = 50

func (n *networkRules) answered(c *candidate) bool {
	return oneAnswer*n.arrivals.now(c.slot) >= n.packets.now(c.slot)
}

// begun is how many connections a second more than usual are begun here by whom
// the answers to them do not come unasked.
const begun = 500

// outward tells who began it: what is answered with as many packets is a flood
// from outside, and who answers its victim, unless the node began the connections.
//
// What interfaces send is no surge any more under a throttle, or where their queue is
// narrow. Then the leading suspect is the measure, whose packets are counted ahead of
// both; those on loopback are, too, so that the interfaces must at least send twice
// what they usually do.
func (n *networkRules) outward(p *Policy) bool {
	sent, surge := n.sent.more(), n.surge(&n.sent)
	if n.candidates = n.candidates[:0]; sent < n.cfg.MinPackets/10 {
		return false
	}
	n.suspect(p)
	if len(n.candidates) > 0 && sent >= n.sent.usual {
		if c := &n.candidates[0]; c.own >= max(n.cfg.MinPackets, 2*c.usual) {
			sent, surge = max(sent, c.own), true
		}
	}
	return surge && (sent > 2*n.received.more() || n.opens.more() >= begun)
}

// suspect ranks the cgroups by what they send beyond what is usual.
func (n *networkRules) suspect(p *Policy) {
	n.ranks = n.packets.growers(n.packets, n.cfg.MinPackets/10, n.ranks)
	for _, g := range n.ranks {
		if len(n.candidates) < MaxInspected && !p.above(Network, g.slot) {
			usual, _ := n.packets.usual(g.slot)
			n.candidates = append(n.candidates, candidate{slot: g.slot, id: n.packets.ids[g.slot], own: g.own, effective: g.own, usual: usual})
		}
	}
}

// shieldWithin is for how long others are asked to wait for a shield: a flood that
// stands is shielded within five seconds, which takes two to show.
const shieldWithin = 10 * int64(time.Second)

// besieges says that a flood from outside is what slot works off, and that a shield
// is to take it away. Whatever keeps it from being put up, or from helping, the
// others are asked to wait for shieldWithin and no longer.
func (n *networkRules) besieges(p *Policy, slot int32, now int64) bool {
	if n.flooding == 0 || now-n.flooding >= shieldWithin || 4*n.arrivals.rate(slot) < n.received.more() || n.outward(p) {
		return false
	}
	if !p.cfg.Resources.Has(Network) || p.cfg.MaxLevel < LevelIsolation || p.cfg.Observes(Network) && !p.cfg.Observes(CPU) {
		return false // nobody would
	}
	for i := range p.leases {
		if l := &p.leases[i]; l.action == arc.ActionShield && l.shown(floodLadder[0].effect, now) {
			return false // what it still uses is its own
		}
	}
	return true
}

func (n *networkRules) judge(p *Policy, s *arc.Sample, inspector Inspector) verdict {
	v := verdict{resource: Network, cause: CauseNoHarm}
	switch out := n.outward(p); {
	case out && n.strainOut() >= 1:
		n.sender(&v, s, inspector)
	case !out && n.surge(&n.received) && n.strainIn(p) >= 1:
		n.flooded(&v, p, s, inspector)
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

// sender accuses the leading suspect.
func (n *networkRules) sender(v *verdict, s *arc.Sample, inspector Inspector) {
	v.pressed, v.cause = true, CauseNone
	if len(n.candidates) == 0 || n.candidates[0].own < n.sent.more()/2 {
		v.cause = CauseNoCulprit // or the kernel does not count by cgroup
		return
	}
	c := &n.candidates[0]
	v.lead, v.second = c, runnerUp(n.candidates, c)
	c.harm = Harm{Kind: HarmEgress, Available: arc.Unlimited, Limit: arc.Unlimited, Growth: c.own, Exhaustion: Never}
	n.pressure.add(c.id, s.Taken, n.strainOut())
	g := n.looks.look(c.id, 0, s.Taken, inspector)
	c.look, c.blind = g.look, g.failed
}

// askEvery is the least time between two questions about the interfaces.
const askEvery = 200 * int64(time.Millisecond)

// flooded accuses nobody: it names the interface through which it comes.
func (n *networkRules) flooded(v *verdict, p *Policy, s *arc.Sample, inspector Inspector) {
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
	n.pressure.add(0, s.Taken, n.strainIn(p))
}

const (
	// leastThrottle is the least a cgroup is throttled to, in bytes a second.
	leastThrottle = 128 << 10
	// leastPerSource is the least a source is held to, in packets a second.
	leastPerSource = 1000
)

func (n *networkRules) restart() { n.pressure.restart() }

func (n *networkRules) open(_ *Policy, l *lease, c *candidate, _ *arc.Sample) {
	n.restart()
	switch l.action {
	case arc.ActionShield:
		// Twice what everybody together usually sends hurts nobody of them.
		l.parameter = max(uint64(2*n.received.usual), leastPerSource)
	case arc.ActionNetworkThrottle:
		// What brings it well below a surge, and to half of what interfaces do
		// send, at the size of its packets; tightened down to twice what is usual.
		usual, _ := n.bytes.usual(c.slot)
		calm := n.bytes.now(c.slot) * min(n.cfg.MinPackets, n.sent.now) / 2 / max(n.packets.now(c.slot), 1)
		l.brakeAt(uint64(calm), max(uint64(2*usual), leastThrottle))
	}
}

// press says that it goes on: packets still come, or are still sent, at more than
// half of what counts as a surge, or at nearly what the throttle lets through. A
// quarantine lets nothing be seen and lasts until it is tried without.
func (n *networkRules) press(p *Policy, l *lease, slot int32, s *arc.Sample, _ int64) (pressing, known bool) {
	if l.parameter < l.first {
		p.ease(l, n.strainOut(), 1, s.Taken)
	}
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
