// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package wake

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// Every is the time between two looks.
	Every = 100 * time.Millisecond
	// Quiet is how long a cause must have been away before it wakes again. What
	// lasts is the business of the interval that was asked for.
	Quiet = 10 * time.Second

	// stallLooks is over how many looks stall time is added up: 500 ms, the
	// shortest window of a PSI trigger before Linux 6.4.
	stallLooks = 5
	window     = stallLooks * Every
	// forksPerCPU is how many tasks a CPU creates within Every when it does
	// nothing else: a shell that only starts programs manages about as many, a
	// fork bomb several times more.
	forksPerCPU = 100
)

// The stall times within window that wake. That of memory is systemd's default
// for its services (200 ms in 2 s).
const (
	cpuStall    = window / 2
	memoryStall = window / 10
	ioStall     = window * 3 / 10
)

// signal is a counter of a node and the growth by which it is a cause.
type signal struct {
	field  arc.NodeField
	looks  int     // over which it grows
	growth float64 // in the unit of the field
	perCPU bool    // growth is for each CPU
}

var signals = [NumCauses]signal{
	CPUStall:      {field: arc.NodePressureCPUSome, looks: stallLooks, growth: cpuStall.Seconds()},
	MemoryStall:   {field: arc.NodePressureMemorySome, looks: stallLooks, growth: memoryStall.Seconds()},
	IOStall:       {field: arc.NodePressureIOFull, looks: stallLooks, growth: ioStall.Seconds()},
	OOMKill:       {field: arc.NodeOOMKills, looks: 1, growth: 1},
	DirectReclaim: {field: arc.NodeDirectReclaims, looks: 1, growth: 1},
	ForkSurge:     {field: arc.NodeForks, looks: 1, growth: forksPerCPU, perCPU: true},
}

// Reader fills what it knows of a node, cheaply, and leaves the rest alone.
type Reader interface {
	Read(into *arc.Node) error
}

// reading is what one look read, by cause; NaN is absent.
type reading struct {
	at     int64
	values [NumCauses]float64
}

// Watch watches a node for causes to wake. It is used from one goroutine.
type Watch struct {
	node     Reader
	triggers *Triggers
	cpus     float64
	scratch  arc.Node

	readings [stallLooks + 1]reading // a ring
	newest   int
	seen     [NumCauses]int64 // when the cause was last there, CLOCK_BOOTTIME, ns
	sees     Causes
}

// New returns a watch over what node reads, for a machine of cpus CPUs, and
// over triggers for the stalls that node does not read. Either may be nil.
func New(node Reader, triggers *Triggers, cpus int) *Watch {
	w := &Watch{node: node, triggers: triggers, cpus: float64(max(cpus, 1))}
	for i := range w.readings {
		w.readings[i].clear()
	}
	for c := range w.seen {
		w.seen[c] = -int64(Quiet)
	}
	first := w.read(0)
	for c := range NumCauses {
		if !math.IsNaN(first.values[c]) || triggers.armed(c) {
			w.sees = w.sees.With(c)
		}
	}
	return w
}

// Sees says which causes can be seen at all.
func (w *Watch) Sees() Causes { return w.sees }

// Look returns the causes that have begun since the last look. now is
// CLOCK_BOOTTIME in ns. It does not allocate.
func (w *Watch) Look(now int64) (begun Causes) {
	there := w.triggers.fired()
	r := w.read(now)
	for c := range NumCauses {
		if w.grew(c, &r) {
			there = there.With(c)
		}
	}
	w.newest = (w.newest + 1) % len(w.readings)
	w.readings[w.newest] = r

	for c := range NumCauses {
		if !there.Has(c) {
			continue
		}
		if now-w.seen[c] >= int64(Quiet) {
			begun = begun.With(c)
		}
		w.seen[c] = now
	}
	return begun
}

// read reads the node once. What cannot be read is absent.
func (w *Watch) read(now int64) (r reading) {
	r.clear()
	r.at = now
	if w.node == nil {
		return r
	}
	for _, s := range signals {
		w.scratch[s.field] = math.NaN()
	}
	_ = w.node.Read(&w.scratch) // whoever takes the tick reads the same, and says so
	for c, s := range signals {
		r.values[c] = w.scratch[s.field]
	}
	return r
}

// grew says whether the signal of c has grown enough by r. After a look that
// came late it must have grown by as much more.
func (w *Watch) grew(c Cause, r *reading) bool {
	s := &signals[c]
	base := &w.readings[(w.newest+len(w.readings)+1-s.looks)%len(w.readings)]
	late := max(float64(r.at-base.at)/float64(s.looks*int(Every)), 1)
	needed := s.growth
	if s.perCPU {
		needed *= w.cpus
	}
	if s.looks > 1 || s.perCPU {
		needed *= late
	}
	return r.values[c]-base.values[c] >= needed // false with NaN on either side
}

func (r *reading) clear() {
	for c := range r.values {
		r.values[c] = math.NaN()
	}
}
