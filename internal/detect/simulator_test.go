// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// machine simulates the node of a small busy server in steps of 10 ms: a
// latent load that is autocorrelated over a second, Student-t shocks of four
// degrees of freedom, bursts (a job of up to half a second every five seconds
// on average, which allocates and frees), readings quantised as the kernel's are.
// A leak adds growth, the page faults that growth takes, and little CPU time.
type machine struct {
	rng    *rand.Rand
	sample arc.Sample

	load, churn float64
	burst       int     // steps left
	force       float64 // of the burst
	borrowed    float64 // bytes the burst has allocated
	counters    arc.Node
	used        float64
	leak        float64 // bytes/s
	tick        int64
}

const step = 10_000_000 // ns

func newMachine(seed uint64) *machine {
	m := &machine{rng: rand.New(rand.NewPCG(seed, 0x5eed)), used: 1.2e9}
	return m
}

func (m *machine) t4() float64 {
	g := m.rng.NormFloat64()
	var chi float64
	for range 4 {
		z := m.rng.NormFloat64()
		chi += z * z
	}
	return g / math.Sqrt(chi/4)
}

// advance runs the machine for one step.
func (m *machine) advance() {
	const dt = 0.01
	m.tick++
	m.load += -m.load*dt/1 + 0.35*math.Sqrt(dt)*m.t4()
	m.churn = 0.9*m.churn + 0.06e6*m.t4()
	if m.burst == 0 && m.rng.Float64() < dt/5 {
		m.burst = 5 + m.rng.IntN(45)
		m.force = 0.1 + 0.25*m.rng.ExpFloat64()
	}
	force := 0.0
	if m.burst > 0 {
		m.burst--
		force = m.force
		grab := 12e6 * force * dt * (1 + 0.5*m.t4())
		m.used += grab
		m.borrowed += grab
	} else if m.borrowed != 0 {
		back := m.borrowed * 0.05
		m.used -= back
		m.borrowed -= back
	}
	work := 0.4*math.Exp(0.5*m.load) + 0.6*force
	c := &m.counters
	grow := func(f arc.NodeField, rate float64) { c[f] += max(0, rate*dt*(1+0.2*m.t4())) }
	grow(arc.NodeCPUBusy, min(2, work+m.leak/1e9))
	grow(arc.NodeCPUSystem, min(1, 0.25*work+m.leak/1e9))
	grow(arc.NodeContextSwitches, 1500+4000*work)
	grow(arc.NodeRunQueueDelay, 0.01*work+0.2*max(0, work-1))
	grow(arc.NodePressureCPUSome, 0.01*work+0.2*max(0, work-1))
	grow(arc.NodePressureIOSome, 0.002+0.1*force*m.rng.Float64())
	grow(arc.NodePageFaults, 800*work+4000*force+m.leak/4096)
	grow(arc.NodeBlockTime, 0.01+0.2*force*m.rng.Float64())
	grow(arc.NodePacketsReceived, 900*work)
	if m.rng.Float64() < 5*dt*(work+4*force) {
		c[arc.NodeForks]++
	}
	if m.rng.Float64() < 0.02*dt {
		c[arc.NodeTCPRetransmits] += 1 + float64(m.rng.IntN(4))
	}
	m.used += m.leak * dt
}

// read fills the machine's sample at its present tick.
func (m *machine) read(interval int64) *arc.Sample {
	s := &m.sample
	s.Source = "ebpf"
	s.Sequence++
	s.Scheduled = m.tick * step
	s.Taken = s.Scheduled + m.tick*7919%300_000
	s.Interval = interval
	s.Node = m.counters
	s.Node[arc.NodeCPUBusy] = math.Floor(s.Node[arc.NodeCPUBusy]*250) / 250
	s.Node[arc.NodeCPUSystem] = math.Floor(s.Node[arc.NodeCPUSystem]*250) / 250
	s.Node[arc.NodeMemoryTotal] = 4e9
	s.Node[arc.NodeMemoryUsed] = math.Floor((m.used+m.churn)/4096) * 4096
	s.Node[arc.NodeMemoryAvailable] = 4e9 - s.Node[arc.NodeMemoryUsed]
	return s
}

// run advances by one 100 ms tick and judges it.
func (m *machine) run(e arc.Engine, c arc.Control, j *arc.Judgement) {
	for range 10 {
		m.advance()
	}
	e.Judge(m.read(10*step), c, j)
}
