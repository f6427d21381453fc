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
//
// What counts is CPU time in user mode: to reclaim, and to come back to a ceiling again
// and again, is the kernel's work, of which a service that answers nobody any more may
// do as much as it did of its own. Of the usual CPU time such a share is its own as of
// all that it had had when it was first compared.
type yield struct {
	at               int64 // when the window began; 0 for none
	cpu, usage, full uint64
	user             bool    // cpu is that in user mode
	share            float64 // of the usual CPU time
	work             float64 // w/W, at most 1
	stretch          float64 // G/g
	poor             bool
}

const (
	// worthwhile is how many times as much work containment must promise.
	worthwhile = 2
	// stretched is the least stretch of time that tells the two leaks apart.
	stretched = 1.2
	// idling is how much of its usual work a service may do and answer nobody: it turns
	// away whom it has no room for, looks whether it has, and collects garbage. One that
	// gave 14 % of its answers did 37 to 63 % of its work.
	idling = 0.5
	// leastWork is the least time in user mode, in ns, that is compared: the kernel counts
	// it by ticks of 4 ms, of which 40 are right to a sixth.
	leastWork = 160e6
	// leastUsual is the usual CPU time, in CPUs, of which a part tells something.
	leastUsual = 0.005
)

// observe takes one step of lease l. It compares over windows as long as a lack of
// progress must last, in which the cgroup presses all the time.
func (y *yield) observe(p *Policy, m *memoryRules, l *lease, slot int32, pressing bool, s *arc.Sample) {
	now := s.Taken
	cpu, usage, full := m.value(s, arc.CgroupCPUTime, slot), m.value(s, arc.CgroupMemoryUsage, slot), m.value(s, arc.CgroupPressureMemoryFull, slot)
	_, usually := p.work(slot)
	if !pressing || cpu == arc.Absent || usage == arc.Absent || full == arc.Absent || usually < leastUsual || full < y.full {
		*y = yield{share: y.share}
		return
	}
	begins := y.at == 0 && now-l.granted >= int64(m.cfg.Settle) || now < y.at
	if !begins && (y.at == 0 || now-y.at < y.window(int64(m.cfg.NoProgress), usually)) {
		return
	}
	cpu, share, user := own(p.inspector, l.cgroup, cpu)
	if y.share == 0 || user != y.user {
		y.share = share
	}
	if begins || user != y.user || cpu < y.cpu {
		*y = yield{at: now, cpu: cpu, usage: usage, full: full, user: user, share: y.share}
		return
	}
	seconds := time.Duration(now - y.at).Seconds()
	growth := max(float64(usage)-float64(y.usage), page) / seconds
	waits := float64(full-y.full) / 1e9 / seconds
	*y = yield{
		at: now, cpu: cpu, usage: usage, full: full, user: user, share: y.share,
		work:    min(float64(cpu-y.cpu)/1e9/seconds/(usually*y.share), 1),
		stretch: l.harm.Growth / growth,
	}
	y.poor = waits >= hindered && !y.worth()
}

// window is how long, in ns, is compared: at least so long that the usual work would be
// enough of what is counted by ticks.
func (y *yield) window(least int64, usually float64) int64 {
	if !y.user {
		return least
	}
	return max(least, int64(leastWork/(usually*y.share)))
}

// own returns what of a cgroup's CPU time, in ns, is its own work, and which share of all
// of it that is. Where that is not told it is all of it.
func own(inspector Inspector, cgroup, cpu uint64) (ns uint64, share float64, user bool) {
	var i Inspection
	if inspector == nil || inspector.Inspect(cgroup, AspectCPU, &i) != nil || i.UserTime == 0 || i.CPUTime < i.UserTime {
		return cpu, 1, false
	}
	return i.UserTime, float64(i.UserTime) / float64(i.CPUTime), true
}

// gain is how many times as much is done, contained, as would be unprotected, in the
// worst case that work allows for.
func (y *yield) gain() float64 { return max(y.work-idling, 0) / (1 - idling) * y.stretch }

// worth says that containment is. Where time is stretched less than fourfold, the
// gain must lie nearer to that of work that goes on undisturbed than to one.
func (y *yield) worth() bool {
	return y.stretch < stretched || y.gain() >= min(worthwhile, math.Sqrt(y.stretch))
}

func (y *yield) say() string {
	return fmt.Sprintf("does %.0f %% of its usual work, half of which may answer nobody, and grows at %.0f %% of its former rate: in all, %.1f times what it would do unprotected",
		100*y.work, 100/y.stretch, y.gain())
}
