// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// yield compares what a contained cgroup still does with what it would do
// unprotected until its memory is exhausted, both as CPU time: the policy sees no
// answers.
//
// With available bytes left and growing at g, contained, it works at w for
// available/g; unprotected it would work at its usual W for available/G. A leak in
// a thread of its own leaves w near W, and the time is G/g times as long. A leak in
// the request path grows with what is done: w/W is g/G, and all that a ceiling does
// is to give the same answers later, or too late. (Such a service gave 1,293 answers
// in two minutes under a wall, and 1,659 before it died without.) Who does less
// without waiting for memory has less to do.
type yield struct {
	at               int64 // when the window began; 0 for none
	cpu, usage, full uint64
	work             float64 // w/W, at most 1
	stretch          float64 // G/g
	poor             bool
}

const (
	// worthwhile is how many times as much work containment must promise.
	worthwhile = 2
	// stretched is the least stretch of time that tells the two leaks apart.
	stretched = 1.2
	// leastUsual is the usual CPU time, in CPUs, of which a part tells something.
	leastUsual = 0.005
)

// observe takes one step of lease l. It compares over windows as long as a lack of
// progress must last, in which the cgroup presses all the time.
func (y *yield) observe(p *Policy, m *memoryRules, l *lease, slot int32, pressing bool, s *arc.Sample) {
	now := s.Taken
	cpu, usage, full := m.value(s, arc.CgroupCPUTime, slot), m.value(s, arc.CgroupMemoryUsage, slot), m.value(s, arc.CgroupPressureMemoryFull, slot)
	_, usually := p.work(slot)
	if !pressing || cpu == arc.Absent || usage == arc.Absent || full == arc.Absent || usually < leastUsual || cpu < y.cpu || full < y.full {
		*y = yield{}
		return
	}
	if y.at == 0 && now-l.granted >= int64(m.cfg.Settle) || now < y.at {
		*y = yield{at: now, cpu: cpu, usage: usage, full: full}
	}
	if y.at == 0 || now-y.at < int64(m.cfg.NoProgress) {
		return
	}
	seconds := time.Duration(now - y.at).Seconds()
	growth := max(float64(usage)-float64(y.usage), page) / seconds
	waits := float64(full-y.full) / 1e9 / seconds
	*y = yield{
		at: now, cpu: cpu, usage: usage, full: full,
		work:    min(float64(cpu-y.cpu)/1e9/seconds/usually, 1),
		stretch: l.harm.Growth / growth,
	}
	y.poor = waits >= hindered && !y.worth()
}

// gain is how many times as much is done, contained, as would be unprotected.
func (y *yield) gain() float64 { return y.work * y.stretch }

// worth says that containment is. Where time is stretched less than fourfold, the
// gain must lie nearer to that of work that goes on undisturbed than to one.
func (y *yield) worth() bool {
	return y.stretch < stretched || y.gain() >= min(worthwhile, math.Sqrt(y.stretch))
}

func (y *yield) say() string {
	return fmt.Sprintf("does %.0f %% of its usual work and grows at %.0f %% of its former rate: %.1f times, in all, what it would do unprotected",
		100*y.work, 100/y.stretch, y.gain())
}
