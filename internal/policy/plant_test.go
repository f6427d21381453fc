// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// plant is what a simulated cgroup wants of a machine beside memory, what it
// gets, and what holds it.
type plant struct {
	// cpu is the CPUs wanted, forks the tasks a second, reads and writes the bytes
	// a second, sends and receives the packets a second, loops those that it sends
	// within the node.
	cpu, forks, reads, writes, sends, receives, loops func(t time.Duration) float64
	tasks                                             float64
	mostTasks                                         uint64  // its own pids.max
	quota                                             float64 // its own cpu.max, in CPUs; 0 is none
	// greedy is its weight where no knob reaches it, above it in the tree: it has the
	// machine to itself until its cap is used up, and others wait for so long.
	greedy float64
	full   func(t time.Duration) float64
	stalls func(t time.Duration) float64 // some of its tasks, on memory

	knobs map[arc.Action]uint64

	ran, waited, throttled, waitedIO, stuck, stalled float64 // seconds
	readBytes, writtenBytes                          float64
	packets, bytesSent, arrived                      float64
	refused                                          float64 // forks

	gets  float64 // CPUs at this step
	moves traffic
}

// traffic is bytes a second, and the share of them that a cap holds back.
type traffic struct{ reads, writes, held float64 }

func (g *plant) reset() {
	g.knobs = map[arc.Action]uint64{}
	if g.mostTasks == 0 {
		g.mostTasks = arc.Unlimited
	}
}

func (g *plant) knob(a arc.Action) uint64 {
	if v, held := g.knobs[a]; held {
		return v
	}
	return arc.Unlimited
}

func (g *plant) weight(a arc.Action) float64 {
	if g.greedy > 0 {
		return g.greedy
	}
	if v := g.knob(a); v < arc.Unlimited {
		return float64(v)
	}
	return 100
}

// machine is what the plants share.
type machine struct {
	cpus, disk float64 // CPUs, bytes a second
	// weightless says that io.weight does nothing here.
	weightless bool
	// flood is packets a second that arrive unasked; the node takes capacity.
	flood    func(t time.Duration) float64
	capacity float64
	shield   uint64
	lacks    map[arc.Action]bool // what the guard does not have
	linkless bool
	// link is the packets a second that leave the node, the others being dropped where
	// no interface counts them; 0 is as many as are sent. Of everybody's segments, 200
	// a second, as large a share has to be sent again.
	link float64
	// resends is the segments a second that are sent again anyhow.
	resends func(t time.Duration) float64
	// queueless says that block requests do not wait for one another.
	queueless bool
	deaf      arc.Action // granted without effect
	unforked  bool       // tasks come from elsewhere
	// quietStalls says that the kernel does not count stalls by cgroup.
	quietStalls bool

	cpuSome, ioSome, softIRQ, forked float64
	received, sent, dropsIn, resent  float64
	operations, busy                 float64
}

func value(f func(time.Duration) float64, t time.Duration) float64 {
	if f == nil {
		return 0
	}
	return f(t)
}

// Flooded implements Inspector.
func (w *world) Flooded() (Interface, error) {
	if w.linkless {
		return Interface{}, errors.New("none")
	}
	return Interface{Index: 3, Name: "eth0"}, nil
}

// turn sets a knob and returns what it was.
func (w *world) turn(g *group, a arc.Action, to uint64) (before uint64) {
	switch {
	case a == arc.ActionShield:
		before, w.shield = w.shield, to
		if before == 0 {
			before = arc.Unlimited
		}
	case a == arc.ActionMemoryHigh:
		before, g.ceiling = g.ceiling, to
	case to == arc.Unlimited:
		delete(g.knobs, a)
	case a == w.deaf:
		return arc.Unlimited
	default:
		before, g.knobs[a] = g.knob(a), to
	}
	return before
}

// work moves everything but memory on by dt.
func (w *world) work(dt time.Duration) {
	s, t := dt.Seconds(), w.since()
	cpus, disk := w.cpus, w.disk
	if cpus == 0 {
		cpus = 2
	}
	if disk == 0 {
		disk = 200 * mb
	}
	w.compute(s, t, cpus)
	w.move(s, t, disk)
	w.network(s, t)
	for _, g := range w.groups {
		if g.gone {
			continue
		}
		wants := value(g.forks, t) * s
		gets := min(wants, max(float64(min(g.mostTasks, g.knob(arc.ActionPidsMax)))-g.tasks, 0))
		if wants < 0 {
			gets = max(wants, -g.tasks)
		}
		g.tasks += gets
		g.refused += max(wants-gets, 0)
		if !w.unforked {
			w.forked += max(gets, 0)
		}
		g.stuck += value(g.full, t) * s
		g.stalled += value(g.stalls, t) * s
	}
}

// compute shares the CPUs. Who wants little gets it, but waits for it: the longer
// the more of those that run have as much weight.
func (w *world) compute(s float64, t time.Duration, cpus float64) {
	wanted, weighed, some, burst := 0.0, 0.0, 0.0, 0.0
	for _, g := range w.groups {
		if g.gets = 0; g.gone {
			continue
		}
		want, before := value(g.cpu, t), g.throttled
		if quota := g.knob(arc.ActionCPUMax); quota < arc.Unlimited && want > float64(quota)/1e6 {
			g.throttled += s * (want - float64(quota)/1e6)
			want = float64(quota) / 1e6
		}
		if g.quota > 0 && want > g.quota {
			g.throttled += s * (want - g.quota)
			g.waited += s // who is throttled is runnable and does not run
			some = 1
			want = g.quota
		}
		if capped := g.throttled > before; capped && g.greedy > 0 {
			burst = max(burst, want/cpus)
		}
		g.gets, wanted = want, wanted+want
		weighed += want * g.weight(arc.ActionCPUWeight)
	}
	for _, g := range w.groups {
		if g.gets > 0 && wanted > cpus {
			others := (weighed - g.gets*g.weight(arc.ActionCPUWeight)) * cpus / wanted
			wait := others / (others + g.weight(arc.ActionCPUWeight))
			if own := g.gets; own > cpus {
				wait = max(wait, 1-cpus/own)
			}
			g.waited += wait * s
			some = max(some, wait)
		} else if g.gets > 0 && g.greedy == 0 {
			g.waited += burst * s
			some = max(some, burst)
		}
		if wanted > 0 {
			g.ran += g.gets * min(cpus/wanted, 1) * s
		}
	}
	w.cpuSome += some * s
}

// move shares the disk in the same way.
func (w *world) move(s float64, t time.Duration, disk float64) {
	wanted, weighed, some, burst := 0.0, 0.0, 0.0, 0.0
	weight := func(g *group) float64 {
		if w.weightless {
			return 100
		}
		return g.weight(arc.ActionIOWeight)
	}
	for _, g := range w.groups {
		if g.moves = (traffic{}); g.gone {
			continue
		}
		want := traffic{reads: value(g.reads, t), writes: value(g.writes, t)}
		reads, writes := min(want.reads, float64(g.knob(arc.ActionIOMaxRead))), min(want.writes, float64(g.knob(arc.ActionIOMaxWrite)))
		if all := want.reads + want.writes; all > 0 {
			want.held = 1 - (reads+writes)/all
		}
		if want.held > 0 && g.greedy > 0 {
			burst = max(burst, (reads+writes)/disk)
		}
		want.reads, want.writes = reads, writes
		g.moves, wanted = want, wanted+reads+writes
		weighed += (reads + writes) * weight(g)
	}
	for _, g := range w.groups {
		own := g.moves.reads + g.moves.writes
		if own == 0 {
			continue
		}
		share, wait := min(disk/wanted, 1), g.moves.held
		if wanted > disk {
			others := (weighed - own*weight(g)) / wanted
			if wait = max(wait, others/(others+weight(g))); own > disk {
				wait = max(wait, 1-share)
			}
		} else if g.greedy == 0 {
			wait = max(wait, burst)
		}
		g.waitedIO += wait * s
		some = max(some, wait)
		g.readBytes += g.moves.reads * share * s
		g.writtenBytes += g.moves.writes * share * s
	}
	w.ioSome += some * s
	// Requests of 64 KiB, of a millisecond each, or of many where they queue.
	requests, each := min(wanted, disk)/65536*s, 0.001
	if wanted > disk && !w.queueless {
		each = 0.02
	}
	w.operations += requests
	w.busy += requests * each
}

// network moves packets of 100 bytes. What arrives unasked comes from one source.
func (w *world) network(s float64, t time.Duration) {
	arrives := 2000 + value(w.flood, t)
	w.received += arrives * s // before a shield
	if w.shield != 0 && w.shield < arc.Unlimited {
		arrives = min(arrives, 2000+float64(w.shield))
	}
	capacity := w.capacity
	if capacity == 0 {
		capacity = 50_000
	}
	w.dropsIn += max(arrives-capacity, 0) * s
	sent := 0.0
	for _, g := range w.groups {
		n := value(g.sends, t)
		if g.gone {
			n = 0
		}
		// What a throttle drops was counted before.
		all := n + value(g.loops, t)
		g.packets += all * s
		g.bytesSent += 100 * all * s
		n = min(n, float64(g.knob(arc.ActionNetworkThrottle))/100)
		if g.knob(arc.ActionQuarantine) < arc.Unlimited {
			n = 0
		}
		sent += n
		g.arrived += value(g.receives, t) * s
	}
	if w.resent += value(w.resends, t) * s; w.link > 0 && sent > w.link {
		w.resent += 200 * (1 - w.link/sent) * s
		sent = w.link
	}
	w.sent += sent * s
	w.softIRQ += (arrives + sent) * 5e-6 * s
}

// everything is what a cgroup and those below it have had of something.
func (w *world) everything(g *group, had func(*group) float64) float64 {
	sum := had(g)
	for _, c := range w.groups {
		if c.parent == g.id && !c.gone {
			sum += w.everything(c, had)
		}
	}
	return sum
}

// show puts what a plant got into its row of the sweep.
func (w *world) show(g *group, i int) {
	set := func(f arc.CgroupField, v float64) { w.sample.Cgroups.Set(f, i, uint64(v)) }
	set(arc.CgroupCPUTime, w.everything(g, func(g *group) float64 { return g.ran })*1e9)
	set(arc.CgroupCPUThrottledTime, g.throttled*1e9)
	set(arc.CgroupPids, g.tasks)
	w.sample.Cgroups.Set(arc.CgroupPidsMax, i, min(g.mostTasks, g.knob(arc.ActionPidsMax)))
	set(arc.CgroupPacketsSent, g.packets)
	set(arc.CgroupBytesSent, g.bytesSent)
	set(arc.CgroupPacketsReceived, g.arrived)
	if g.stalls != nil {
		set(arc.CgroupPressureMemorySome, g.stalled*1e9)
	}
	if g.full != nil || g.tenant != nil {
		set(arc.CgroupPressureMemoryFull, g.stuck*1e9)
	}
	if !w.quietStalls {
		set(arc.CgroupPressureCPUSome, g.waited*1e9)
		set(arc.CgroupPressureIOSome, g.waitedIO*1e9)
	}
}

func (w *world) showNode() {
	n := &w.sample.Node
	n[arc.NodePressureCPUSome], n[arc.NodePressureIOSome] = w.cpuSome, w.ioSome
	n[arc.NodeCPUSoftIRQ], n[arc.NodeForks] = w.softIRQ, w.forked
	n[arc.NodeBlockOperations], n[arc.NodeBlockTime] = w.operations, w.busy
	n[arc.NodePacketsReceived], n[arc.NodePacketsSent] = w.received, w.sent
	n[arc.NodeDropsReceived], n[arc.NodeDropsSent], n[arc.NodeTCPOpens] = w.dropsIn, 0, 0
	n[arc.NodeTCPRetransmits] = w.resent
}

// service is somebody who needs a little of everything, all the time.
func service() *group {
	always := func(v float64) func(time.Duration) float64 { return func(time.Duration) float64 { return v } }
	return &group{id: 11, path: "/system.slice/service.service", anon: 300 * mb, plant: plant{
		cpu: always(0.1), reads: always(mb), sends: always(500), tasks: 20,
	}}
}

// actions lists the actions ordered and not released, in the order in which they
// were first ordered.
func (w *world) actions() []arc.Action {
	var out []arc.Action
	seen := map[uint64]bool{}
	for _, o := range w.orders {
		if o.Verb == arc.Hold && !seen[o.Generation] {
			seen[o.Generation] = true
			out = append(out, o.Action)
		}
	}
	return out
}
