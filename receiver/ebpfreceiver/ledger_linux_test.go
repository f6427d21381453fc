// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
)

// ledger is what has been done to the cgroups of a tree: the truth that samples
// and metrics are compared with. It is a meeting point of the arc and a consumer.
// Whoever makes or removes a cgroup holds it meanwhile, so that it is never
// behind the kernel when somebody asks.
type ledger struct {
	extension
	mu     sync.Mutex
	lives  map[uint64]*life
	faults []string
	more   int // faults beyond those kept

	samples, named int // samples compared; cgroups seen in a delivery
}

// life is that of one cgroup.
type life struct {
	path     string
	born     int64 // CLOCK_BOOTTIME, ns
	died     int64 // 0 while it lives
	bornWall int64
	worked   bool   // some process has been in it
	cpu      uint64 // ns, as last seen
	sample   uint64 // in which it was last seen
	named    bool   // it has been in a delivery
}

const (
	// remembered is how long the dead are: nothing is delivered later.
	remembered = int64(10 * time.Second)
	faultsKept = 20
)

func newLedger() *ledger { return &ledger{lives: map[uint64]*life{}} }

func now() int64 { return new(sampler.SystemClock).Now() }

// fault notes what is wrong.
func (l *ledger) fault(format string, args ...any) {
	if len(l.faults) < faultsKept {
		l.faults = append(l.faults, fmt.Sprintf(format, args...))
	} else {
		l.more++
	}
}

// bear and bury are called with mu held, after the kernel has done it.
func (l *ledger) bear(id uint64, path string, worked bool) {
	if before := l.lives[id]; before != nil {
		l.fault("%s has the id of %s", path, before.path)
	}
	l.lives[id] = &life{path: path, born: now(), bornWall: time.Now().UnixNano(), worked: worked}
}

func (l *ledger) bury(id uint64) {
	died := now()
	l.lives[id].died = died
	for id, one := range l.lives {
		if one.died != 0 && died-one.died > remembered {
			delete(l.lives, id)
		}
	}
}

// Observe implements arc.Meeting: it compares every row of a sample.
func (l *ledger) Observe(s *arc.Sample, _ *arc.Judgement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples++
	for row, id := range s.Cgroups.ID {
		one := l.lives[id]
		switch {
		case one == nil:
			l.fault("sample %d holds cgroup %d, which is not there", s.Sequence, id)
		case one.died != 0 && one.died < s.Taken:
			l.fault("sample %d holds %s (%d), removed %v before", s.Sequence, one.path, id, time.Duration(s.Taken-one.died))
		default:
			l.compare(s, row, one)
		}
	}
	for id, one := range l.lives {
		if one.died == 0 && one.born < s.Taken && one.sample != s.Sequence {
			l.fault("sample %d lacks %s (%d)", s.Sequence, one.path, id)
		}
	}
}

// compare checks that the counters of a row are those of this life and not of
// one before it.
func (l *ledger) compare(s *arc.Sample, row int, one *life) {
	one.sample = s.Sequence
	for f := range arc.NumCgroupFields {
		if v := s.Cgroups.Value(f, row); arc.CgroupFields[f].Kind == arc.Counter && v != arc.Absent && v > 0 && !one.worked {
			l.fault("%s of %s is %d, but nobody has been there", arc.CgroupFields[f].Name, one.path, v)
		}
	}
	cpu := s.Cgroups.Value(arc.CgroupCPUTime, row)
	if cpu == arc.Absent {
		l.fault("%s has no CPU time", one.path)
		return
	}
	if cpu < one.cpu {
		l.fault("CPU time of %s went back from %d to %d", one.path, one.cpu, cpu)
	}
	one.cpu = cpu
}

// Register and Control implement the rest of arc.Meeting.
func (l *ledger) Register(string, string, arc.Engine) (func(), error) { return func() {}, nil }

func (l *ledger) Control() arc.Control { return arc.Control{} }

// Capabilities implements consumer.Metrics.
func (*ledger) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

// ConsumeMetrics compares names and beginnings.
func (l *ledger) ConsumeMetrics(_ context.Context, md pmetric.Metrics) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, rm := range md.ResourceMetrics().All() {
		if i > 0 { // the node comes first
			l.consume(rm)
		}
	}
	return nil
}

func (l *ledger) consume(rm pmetric.ResourceMetrics) {
	id, _ := rm.Resource().Attributes().Get(attributeCgroupID)
	path, _ := rm.Resource().Attributes().Get(attributeCgroupPath)
	one := l.lives[uint64(id.Int())]
	if one == nil {
		l.fault("a delivery holds cgroup %d (%s), which is not there", id.Int(), path.Str())
		return
	}
	if path.Str() != one.path {
		l.fault("a delivery calls cgroup %d %q; it is %q", id.Int(), path.Str(), one.path)
	}
	if !one.named {
		one.named = true
		l.named++
	}
	for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
		if m.Type() != pmetric.MetricTypeSum {
			continue
		}
		p := m.Sum().DataPoints().At(0)
		// The sample was taken a moment before the cgroup was entered here.
		if p.StartTimestamp() < pcommon.Timestamp(one.bornWall-int64(time.Second)) {
			l.fault("%s of %s counts since %v, before it was made", m.Name(), one.path, p.StartTimestamp().AsTime())
		}
		if p.DoubleValue() > 0 && !one.worked {
			l.fault("%s of %s is %g in a delivery, but nobody has been there", m.Name(), one.path, p.DoubleValue())
		}
	}
}
