// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math"
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// splice adds a fault to the samples of a stream.
type splice struct {
	fault   Fault
	victims []uint64
	limits  []uint64 // memory.max of each victim, instead of its own
	onset   int64
	last    int64
	guard   *guard

	memory []float64 // leaked, by victim
	tasks  []float64
	cpu    []float64 // seconds, by victim
	read   []float64
	node   arc.Node // what has been added to the node
	// spent says that a victim has met its limit: the OOM killer came.
	spent bool
}

const (
	taskMemory = 10 << 10 // kernel memory of a task
	ioRequest  = 128 << 10
)

// newSplice begins a fault at a tick of the tape.
func newSplice(f Fault, t *Tape, onset int, victims []uint64, g *guard) *splice {
	at, n := &t.Ticks[onset], len(victims)
	p := &splice{
		fault: f, victims: victims, onset: at.Taken, guard: g, limits: make([]uint64, n),
		memory: make([]float64, n), tasks: make([]float64, n), cpu: make([]float64, n), read: make([]float64, n),
	}
	for k, id := range victims {
		if row := slices.Index(at.Cgroups.ID, id); f.Headroom > 0 && row >= 0 {
			p.limits[k] = at.Cgroups.Value(arc.CgroupMemoryUsage, row) + uint64(f.Headroom)
		}
	}
	return p
}

// apply changes the sample as the fault would have. It is called for every sample,
// in order.
func (p *splice) apply(s *arc.Sample) {
	sweep := &s.Cgroups
	for k, id := range p.victims {
		if row := slices.Index(sweep.ID, id); row >= 0 && p.limits[k] > 0 {
			set(sweep, arc.CgroupMemoryMax, row, p.limits[k])
		}
	}
	if s.Taken > p.onset && p.last >= p.onset {
		p.step(s, float64(s.Taken-p.last)/1e9)
	}
	p.last = s.Taken
	for f, extra := range p.node {
		if s.Node[f] += extra; s.Node[f] < 0 {
			s.Node[f] = 0
		}
	}
	for k, id := range p.victims {
		p.charge(sweep, k, id)
	}
}

// step is dt seconds of the fault.
func (p *splice) step(s *arc.Sample, dt float64) {
	waits := 0.0 // share of the time in which others wait for a CPU
	for k, id := range p.victims {
		row := slices.Index(s.Cgroups.ID, id)
		if row < 0 {
			continue
		}
		p.leak(&s.Cgroups, k, row, dt)
		if !p.guard.holds(id, arc.ActionPidsMax, arc.ActionFreeze) && p.fault.Forks > 0 {
			p.tasks[k] += p.fault.Forks * dt
			p.node[arc.NodeForks] += p.fault.Forks * dt
		}
		if p.fault.Spin > 0 {
			held := 1.0
			if p.guard.holds(id, arc.ActionCPUWeight, arc.ActionCPUIdle, arc.ActionCPUMax, arc.ActionFreeze) {
				held = 0.1
			}
			share := held * p.fault.Spin / (p.fault.Spin + 1) // of the CPU
			p.cpu[k] += share * dt
			waits += share
			p.node[arc.NodeRunQueueDelay] += held * p.fault.Spin * dt
		}
		if p.fault.IO > 0 && !p.guard.holds(id, arc.ActionIOWeight, arc.ActionIOMaxRead, arc.ActionIOMaxWrite, arc.ActionFreeze) {
			p.read[k] += p.fault.IO * dt
			p.node[arc.NodeBlockBytes] += p.fault.IO * dt
			p.node[arc.NodeBlockOperations] += p.fault.IO / ioRequest * dt
			p.node[arc.NodeBlockTime] += 8 * dt // requests in flight
			p.node[arc.NodePressureIOSome] += 0.8 * dt
		}
	}
	waits = min(waits, 0.95)
	p.node[arc.NodePressureCPUSome] += waits * dt
	p.node[arc.NodeCPUBusy] += waits * dt * 0.6 // the rest of the time it was busy anyhow
	p.node[arc.NodeContextSwitches] += 250 * waits * dt
}

// leak lets victim k grow, up to what is held on it and to its limit.
func (p *splice) leak(s *arc.Sweep, k, row int, dt float64) {
	usage := float64(s.Value(arc.CgroupMemoryUsage, row)) + p.memory[k]
	want := p.fault.Leak * dt
	if held := p.guard.ceiling(p.victims[k]); held < arc.Unlimited {
		// Above memory.high a task sleeps for nearly all of its time.
		want = min(want, max(float64(held)-usage, 0)+20_000*dt)
	}
	if limit := s.Value(arc.CgroupMemoryMax, row); limit < arc.Unlimited && usage+want >= float64(limit) {
		p.spent = true
		return
	}
	want += p.fault.Forks * taskMemory * dt
	p.memory[k] += want
	p.node[arc.NodeMemoryUsed] += want
	p.node[arc.NodeMemoryAvailable] -= want
	p.node[arc.NodePageFaults] += want / 4096
}

// charge adds what victim k has used to its cgroup and to those above.
func (p *splice) charge(s *arc.Sweep, k int, id uint64) {
	for depth := 0; id != 0 && depth < 64; depth++ {
		row := slices.Index(s.ID, id)
		if row < 0 {
			return
		}
		add(s, arc.CgroupMemoryUsage, row, p.memory[k])
		add(s, arc.CgroupMemoryAnon, row, p.memory[k])
		add(s, arc.CgroupMemoryUnreclaimable, row, p.memory[k])
		add(s, arc.CgroupPageFaults, row, p.memory[k]/4096)
		add(s, arc.CgroupPids, row, p.tasks[k])
		add(s, arc.CgroupCPUTime, row, p.cpu[k]*1e9)
		add(s, arc.CgroupPressureCPUSome, row, p.cpu[k]*1e9/2)
		add(s, arc.CgroupReadBytes, row, p.read[k])
		add(s, arc.CgroupReadOperations, row, p.read[k]/ioRequest)
		id = s.Parent[row]
	}
}

func add(s *arc.Sweep, f arc.CgroupField, row int, extra float64) {
	if v := s.Value(f, row); v != arc.Absent && extra > 0 && !math.IsNaN(extra) {
		s.Set(f, row, v+uint64(extra))
	}
}

func set(s *arc.Sweep, f arc.CgroupField, row int, v uint64) {
	if row < len(s.Columns[f]) {
		s.Set(f, row, v)
	}
}
