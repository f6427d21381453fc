// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/movers"
)

// Columns are what is remembered of a cgroup: what movers are told by.
var Columns = [...]arc.CgroupField{
	arc.CgroupMemoryUsage, arc.CgroupCPUTime, arc.CgroupPressureCPUSome, arc.CgroupPressureMemorySome, arc.CgroupPressureIOSome,
}

const (
	// MostCgroups bounds the cgroups remembered of one tick. Where there are more, those
	// are that moved most in the last chosenFor.
	MostCgroups = 256
	chosenFor   = int64(10 * time.Second)
)

// Settings of a recorder.
type Settings struct {
	// Before and After are how much is kept from before an anomaly and from after it,
	// Interval is the time between two ticks.
	Before, After, Interval time.Duration
}

// frame is one tick.
type frame struct {
	sample  arc.Sample
	pending bool // to be delivered
	out     bool // being delivered
}

// Recorder remembers ticks. Add is for one goroutine, the rest for one other.
type Recorder struct {
	mu     sync.Mutex
	before int64 // ns
	after  int64
	calm   int // frames kept that are not pending
	most   int // frames that may be pending

	frames    []*frame // oldest first
	spare     []*frame
	recording bool
	until     int64 // CLOCK_BOOTTIME, ns: the end of what is recorded
	pending   int
	dropped   uint64
	ready     chan struct{}

	ranking *movers.Ranking // used where there are more cgroups than are remembered
	chosen  map[uint64]struct{}
	choose  int64 // when they are chosen anew

	extremes Extremes
}

// Extremes are the least and the greatest values of a node's gauges since they were last
// taken; NaN where there was none.
type Extremes struct {
	Min, Max arc.Node
}

// New returns an empty recorder.
func New(set Settings) *Recorder {
	frames := func(d time.Duration) int { return int((d + set.Interval - 1) / set.Interval) }
	r := &Recorder{
		before: int64(set.Before), after: int64(set.After), calm: frames(set.Before) + 1, most: frames(set.Before+set.After) + 2,
		ready: make(chan struct{}, 1), ranking: movers.New(MostCgroups), chosen: map[uint64]struct{}{},
	}
	r.extremes.reset()
	return r
}

func (e *Extremes) reset() {
	for f := range e.Min {
		e.Min[f], e.Max[f] = math.NaN(), math.NaN()
	}
}

func (e *Extremes) add(n *arc.Node) {
	for f, v := range n {
		if arc.NodeFields[f].Kind != arc.Gauge || math.IsNaN(v) {
			continue
		}
		if !(e.Min[f] <= v) {
			e.Min[f] = v
		}
		if !(e.Max[f] >= v) {
			e.Max[f] = v
		}
	}
}

// Add remembers a tick. Anomalous says that there is an anomaly at it.
func (r *Recorder) Add(s *arc.Sample, anomalous bool) {
	rows := r.rows(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.extremes.add(&s.Node)
	if anomalous {
		r.until = s.Taken + r.after
		if !r.recording {
			r.begin(s.Taken - r.before)
		}
	}
	r.recording = r.recording && s.Taken <= r.until
	f := r.slot(r.recording)
	f.take(s, rows)
	f.pending, f.out = r.recording, false
	r.frames = append(r.frames, f)
	if f.pending {
		r.pending++
		r.rouse()
	}
}

// begin has what was since an instant delivered.
func (r *Recorder) begin(since int64) {
	r.recording = true
	for _, f := range r.frames {
		if !f.pending && f.sample.Sequence != 0 && f.sample.Taken >= since {
			f.pending = true
			r.pending++
		}
	}
}

func (r *Recorder) rouse() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// slot makes room for one more tick, pending or not, and returns a frame to fill.
// Nothing that is being delivered goes.
func (r *Recorder) slot(pending bool) *frame {
	for pending && r.pending >= r.most && r.remove(func(f *frame) bool { return f.pending && !f.out }) {
	}
	for len(r.frames)-r.pending >= r.calm && r.remove(func(f *frame) bool { return !f.pending }) {
	}
	if n := len(r.spare); n > 0 {
		f := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return f
	}
	return &frame{}
}

// remove takes out the oldest frame of which a condition holds, and says whether there
// was one.
func (r *Recorder) remove(which func(*frame) bool) bool {
	at := slices.IndexFunc(r.frames, which)
	if at < 0 {
		return false
	}
	f := r.frames[at]
	if f.pending {
		r.pending--
		r.dropped++
	}
	r.frames = slices.Delete(r.frames, at, at+1)
	if len(r.spare) == 0 { // what an anomaly took besides goes back to the system
		r.spare = append(r.spare, f)
	}
	return true
}

// rows returns the cgroups to be remembered, nil for all.
func (r *Recorder) rows(s *arc.Sample) []int {
	if s.Cgroups.Len() <= MostCgroups {
		return nil
	}
	if s.Taken >= r.choose {
		r.choose = s.Taken + chosenFor
		clear(r.chosen)
		for _, row := range r.ranking.Rank(&s.Cgroups) {
			r.chosen[s.Cgroups.ID[row]] = struct{}{}
		}
	}
	rows := make([]int, 0, MostCgroups)
	for row, id := range s.Cgroups.ID {
		if _, yes := r.chosen[id]; yes && len(rows) < MostCgroups {
			rows = append(rows, row)
		}
	}
	return rows
}

// take copies what is remembered of a tick; the memory of the one before is used again.
func (f *frame) take(s *arc.Sample, rows []int) {
	to := &f.sample
	cgroups := to.Cgroups
	*to = *s
	to.Cgroups = cgroups
	to.Cgroups.Reset()
	if rows == nil {
		to.Cgroups.ID = append(to.Cgroups.ID, s.Cgroups.ID...)
		for _, c := range Columns {
			to.Cgroups.Columns[c] = append(to.Cgroups.Columns[c], s.Cgroups.Columns[c]...)
		}
		return
	}
	for _, row := range rows {
		to.Cgroups.ID = append(to.Cgroups.ID, s.Cgroups.ID[row])
		for _, c := range Columns {
			to.Cgroups.Columns[c] = append(to.Cgroups.Columns[c], s.Cgroups.Value(c, row))
		}
	}
}

// Ready signals that something may be pending.
func (r *Recorder) Ready() <-chan struct{} { return r.ready }

// Delivered says that the tick of this sequence number was delivered by another way.
func (r *Recorder) Delivered(sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.frames) - 1; i >= 0; i-- { // it is one of the newest
		f := r.frames[i]
		if f.sample.Sequence == sequence {
			if f.pending {
				f.pending = false
				r.pending--
			}
			f.sample.Sequence = 0 // and is not pending later either
			return
		}
	}
}

// Next returns up to n pending ticks, oldest first. The newest tick of all is not among
// them: it may be on another way. They are not changed until Done, which comes before the
// next Next.
func (r *Recorder) Next(n int, into []*arc.Sample) []*arc.Sample {
	r.mu.Lock()
	defer r.mu.Unlock()
	into = into[:0]
	for i, f := range r.frames {
		if len(into) == n || i == len(r.frames)-1 {
			break
		}
		if f.pending {
			f.out = true
			into = append(into, &f.sample)
		}
	}
	return into
}

// Done says what became of the ticks that Next returned last: they are done with, or
// stay pending.
func (r *Recorder) Done(with bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.frames {
		if f.out && with {
			f.pending = false
			f.sample.Sequence = 0
			r.pending--
		}
		f.out = false
	}
}

// Pending is how many ticks are to be delivered.
func (r *Recorder) Pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending
}

// TakeDropped returns how many pending ticks there was no room for since it was last
// asked.
func (r *Recorder) TakeDropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.dropped
	r.dropped = 0
	return n
}

// ReturnExtremes gives back extremes that nobody was told of.
func (r *Recorder) ReturnExtremes(e *Extremes) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.extremes.add(&e.Min)
	r.extremes.add(&e.Max)
}

// TakeExtremes returns the extremes since it was last asked.
func (r *Recorder) TakeExtremes() Extremes {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.extremes
	r.extremes.reset()
	return e
}
