// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/wake"
)

const (
	// FastestInterval is the shortest sampling interval, whoever asks for one.
	FastestInterval = 10 * time.Millisecond
	// share is the part of the time, one in so many, that ticks may take when they come
	// faster than configured: on a machine that is slow, or that has no CPU time left, a
	// hundred ticks a second would be a load of their own, unusual enough to be asked for
	// again.
	share = 4
)

// NodeReader fills what it can of a node and leaves the rest alone.
type NodeReader interface {
	Read(into *arc.Node) error
}

// CgroupReader replaces a sweep by what is there now. After an error the sweep
// holds the rows that could be read, perhaps none.
type CgroupReader interface {
	Sweep(into *arc.Sweep) error
}

// Observer is what the sampler needs of the arc's meeting point.
type Observer interface {
	Observe(s *arc.Sample, j *arc.Judgement)
	Control() arc.Control
}

// Recorder receives what a tick says about itself. It is called in the sampling
// goroutine after the arc and must not block.
type Recorder interface {
	Record(t *Tick)
}

// Tick is what a tick says about itself. The recorder must not keep it.
type Tick struct {
	// Lateness is the time from when the tick was due to when it was taken,
	// Duration from there to the return of the arc; both in ns.
	Lateness, Duration int64
	// Missed counts the ticks skipped since the previous one.
	Missed uint32
	// Cgroups is how many cgroups the sweep holds, Truncated how many did not
	// fit.
	Cgroups   int
	Truncated uint32
	// Early says that the tick was taken before the interval was over, and Woken
	// what has woken the sampler since the previous tick.
	Early bool
	Woken wake.Causes
	// Replaced says that the previous sample was not delivered.
	Replaced bool
	// NodeError and CgroupsError are what the sources answered.
	NodeError, CgroupsError error
}

// Settings describe a sampler. Node, Clock, Handover and Recorder are required.
type Settings struct {
	// Source is the sample's source.
	Source string
	// Interval is the sampling interval where the arc asks for none, and the
	// interval of delivery.
	Interval time.Duration
	// EmitInterval is the interval of delivery while there is an arc and it is not
	// watchful; at most Interval, it changes nothing.
	EmitInterval time.Duration
	// Record asks for a sample at every Interval, also where none is due to be
	// delivered.
	Record   bool
	Node     NodeReader
	Cgroups  CgroupReader // nil where cgroups cannot be read
	Watch    Watcher      // nil where nothing wakes the sampler; see wake.go
	Observer Observer     // nil where there is no arc
	Clock    Clock
	Handover *Handover
	Recorder Recorder
}

// Sampler takes ticks. It is used from one goroutine.
type Sampler struct {
	set       Settings
	interval  int64 // in force
	next      int64 // when the next tick is due
	taken     int64 // when the last one was
	missed    uint32
	delivered int64 // when the last sample was due to be delivered
	handed    int64 // when the last one was handed over
	sequence  uint64
	cost      int64 // of a tick, smoothed, in ns
	sample    *arc.Sample
	judgement arc.Judgement
	tick      Tick
	watch     watch
}

// New returns a sampler whose first tick is the next instant of the grid.
func New(set Settings) *Sampler {
	s := &Sampler{set: set, interval: int64(set.Interval), sample: &arc.Sample{}}
	now := set.Clock.Now()
	s.next = following(now, s.interval)
	s.watch.begin(&set, now)
	return s
}

// Run takes ticks until stop is closed.
func (s *Sampler) Run(stop <-chan struct{}) {
	for s.wait(stop) {
		s.Tick()
	}
}

// Tick takes the tick that is due and decides when the next one is.
func (s *Sampler) Tick() {
	s.skip()
	scheduled, sample := s.next, s.sample
	s.sequence++
	sample.Source, sample.Sequence = s.set.Source, s.sequence
	sample.Scheduled, sample.Interval, sample.Period = scheduled, s.interval, int64(s.set.Interval)
	sample.Missed, s.missed = s.missed, 0
	sample.WallTime, sample.Taken = s.set.Clock.WallTime(), s.set.Clock.Now()
	s.tick = Tick{Lateness: sample.Taken - scheduled, Missed: sample.Missed}
	s.tick.Early, s.tick.Woken = s.watch.take()

	s.read(sample)
	if s.set.Observer != nil {
		s.set.Observer.Observe(sample, &s.judgement)
	}
	s.tick.Duration = s.set.Clock.Now() - sample.Taken
	s.cost += (s.tick.Duration - s.cost) / 8

	due := scheduled >= following(s.delivered, s.pace()) || s.tick.Early
	if due {
		s.delivered = scheduled
	}
	if due || s.set.Record && scheduled >= following(s.handed, int64(s.set.Interval)) {
		s.handed = scheduled
		s.sample, s.tick.Replaced = s.set.Handover.Put(sample, due)
	}
	s.set.Recorder.Record(&s.tick)
	s.taken = scheduled
	s.schedule(scheduled)
}

func (s *Sampler) read(sample *arc.Sample) {
	for i := range sample.Node {
		sample.Node[i] = math.NaN()
	}
	s.tick.NodeError = s.set.Node.Read(&sample.Node)

	if s.set.Cgroups == nil {
		sample.Cgroups.Reset()
		return
	}
	s.tick.CgroupsError = s.set.Cgroups.Sweep(&sample.Cgroups)
	s.tick.Cgroups, s.tick.Truncated = sample.Cgroups.Len(), sample.Cgroups.Truncated
}

// skip passes over the instants of the grid for which it is too late: one is
// missed when the one after it has come as well. It is asked when the tick is
// taken and not when it is scheduled, because the time that is lost may be lost
// in between: a machine that was suspended wakes up in the middle of the wait, and
// the sample must not claim the instant from before.
func (s *Sampler) skip() {
	now := s.set.Clock.Now()
	late := now - s.next
	if late < s.interval {
		return
	}
	s.next = s.latest(now)
	s.missed = uint32(min(late/s.interval, math.MaxUint32))
}

// latest is the last instant of the grid (see after) up to one.
func (s *Sampler) latest(instant int64) int64 {
	last := instant - instant%s.interval
	if s.set.Interval > WakeInterval {
		last = max(last, instant-instant%int64(s.set.Interval))
	}
	return last
}

// schedule finds the next instant of the grid.
func (s *Sampler) schedule(scheduled int64) {
	s.interval = s.wanted(scheduled)
	s.next = s.after(scheduled)
}

// pace is the interval of delivery in force. The tick that makes the arc watchful
// is delivered, whenever the last one was.
func (s *Sampler) pace() int64 {
	if s.set.Observer == nil || s.set.Observer.Control().Watchful {
		return int64(s.set.Interval)
	}
	return int64(max(s.set.Interval, s.set.EmitInterval))
}

// after is the first instant of the grid after one. While a slow sampler is
// fast, the instants of its own interval are among them: deliveries and
// decisions fall due then.
func (s *Sampler) after(instant int64) int64 {
	next := following(instant, s.interval)
	if s.set.Interval > WakeInterval {
		next = min(next, following(instant, int64(s.set.Interval)))
	}
	return next
}

// wanted is the configured interval, or the one the arc or the watch asks for
// if it is shorter.
func (s *Sampler) wanted(scheduled int64) int64 {
	interval := s.watch.wanted(scheduled, int64(s.set.Interval))
	if s.set.Observer == nil {
		return interval
	}
	asked := s.set.Observer.Control().Interval
	if asked <= 0 || asked >= interval {
		return interval
	}
	return min(interval, max(asked, s.affordable()))
}

// affordable is the shortest interval at which ticks take no more than their share: the
// fastest there is, one that divides the configured one, so that no instant of that is
// passed over, or that itself.
func (s *Sampler) affordable() int64 {
	for step := int64(FastestInterval); step < int64(s.set.Interval); step += int64(FastestInterval) {
		aligned := step == int64(FastestInterval) || int64(s.set.Interval)%step == 0
		if aligned && step >= share*s.cost {
			return step
		}
	}
	return max(int64(s.set.Interval), int64(FastestInterval))
}

// following is the first multiple of interval after instant.
func following(instant, interval int64) int64 { return (instant/interval + 1) * interval }
