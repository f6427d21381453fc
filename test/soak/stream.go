// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Stream plays a tape: as it was recorded, or in blocks drawn from it, one after
// another, for as long as anybody asks. At a seam, where one block follows another,
// counters and times go on from where they were by what they moved at that tick in
// the recording; gauges jump. A cgroup that is on both sides of a seam lives on; one
// that comes back after it was gone is another, with an id of its own.
type Stream struct {
	tape *Tape
	// Random draws blocks; nil: the tape is played once, as it is.
	random      *rand.Rand
	least, most int // length of a block, in ticks
	first       int // tick from which on blocks are drawn

	at, end int // next tick of the tape, end of the block
	played  uint64
	seam    bool // the next tick is the first of another block
	jumps   []float64

	out   arc.Sample
	times times
	node  [arc.NumNodeFields]offset
	lives map[uint64]*life // by the id in the recording
	ids   map[uint64]uint64
	next  uint64 // id that no life has had
}

// times are what is added to those of the recording.
type times struct {
	sequence               uint64
	scheduled, taken, wall int64
}

// offset is what is added to a counter. While it waits, the counter has had no
// value since the last seam.
type offset struct {
	add, last float64
	waits     bool
	begun     bool
}

// life is a cgroup of the stream.
type life struct {
	id       uint64
	seen     uint64 // when it was played last
	counters [arc.NumCgroupFields]count
}

// count is an [offset] in whole numbers; its sums wrap around.
type count struct {
	add, last    uint64
	waits, begun bool
}

// Replay plays a tape as it was recorded.
func Replay(t *Tape) *Stream {
	return &Stream{
		tape: t, end: len(t.Ticks),
		lives: map[uint64]*life{}, ids: map[uint64]uint64{}, next: t.last + 1,
	}
}

const (
	// leastBlock and mostBlock bound blocks, of tapes that are long enough.
	leastBlock = 2 * time.Minute
	mostBlock  = 10 * time.Minute
	// starting is how long a machine is left out of recombinations after its
	// recording began, while everything on it starts at once: that happens once. Of
	// a short tape it is a quarter.
	starting = 3 * time.Minute
)

// Recombine plays blocks of a tape in random order.
func Recombine(t *Tape, random *rand.Rand) *Stream {
	interval := max(t.Ticks[0].Interval, 1)
	s := Replay(t)
	s.random = random
	s.most = max(min(int(int64(mostBlock)/interval), len(t.Ticks)/3), 2)
	s.least = max(min(int(int64(leastBlock)/interval), s.most/2), 1)
	s.first = max(min(int(int64(starting)/interval), len(t.Ticks)/4), 1)
	s.at = s.draw()
	s.end = s.length(s.at)
	return s
}

// draw draws the first tick of a block.
func (s *Stream) draw() int { return s.first + s.random.IntN(len(s.tape.Ticks)-s.least-s.first+1) }

// length draws the end of a block that begins at tick at.
func (s *Stream) length(at int) int {
	return min(at+s.least+s.random.IntN(s.most-s.least+1), len(s.tape.Ticks))
}

// Next returns the next sample, which is valid until the one after it, and says
// whether it is the first of another block. It returns nil at the end of a tape that
// is played once.
func (s *Stream) Next() (sample *arc.Sample, seam bool) {
	if s.at >= s.end {
		if s.random == nil {
			return nil, false
		}
		last := s.at - 1
		s.at = s.follow(last)
		s.end = s.length(s.at)
		s.seam = true
		s.jumps = append(s.jumps, math.Abs(s.tape.Ticks[s.at].Node[arc.NodeMemoryUsed]-s.tape.Ticks[last].Node[arc.NodeMemoryUsed]))
	}
	in := &s.tape.Ticks[s.at]
	before := in
	if s.at > 0 {
		before = &s.tape.Ticks[s.at-1]
	}
	s.played++
	s.time(in, before)
	for f := range s.node {
		s.out.Node[f] = in.Node[f]
		if arc.NodeFields[f].Kind == arc.Counter {
			s.out.Node[f] = s.node[f].move(in.Node[f], before.Node[f], s.seam)
		}
	}
	s.sweep(in, before)
	seam, s.seam = s.seam, false
	s.at++
	return &s.out, seam
}

// time moves what is about time.
func (s *Stream) time(in, before *arc.Sample) {
	o, t := &s.out, &s.times
	if s.seam {
		t.sequence = o.Sequence + (in.Sequence - before.Sequence) - in.Sequence
		t.scheduled = o.Scheduled + (in.Scheduled - before.Scheduled) - in.Scheduled
		t.taken = t.scheduled // lateness is the recording's
		t.wall = o.WallTime + (in.WallTime - before.WallTime) - in.WallTime
	}
	o.Source, o.Interval, o.Period, o.Missed = in.Source, in.Interval, in.Period, in.Missed
	o.Sequence, o.Scheduled, o.Taken, o.WallTime = in.Sequence+t.sequence, in.Scheduled+t.scheduled, in.Taken+t.taken, in.WallTime+t.wall
}

// move returns the counter's value in the stream.
func (o *offset) move(in, before float64, seam bool) float64 {
	o.waits = o.waits || seam && o.begun
	if math.IsNaN(in) {
		return in
	}
	if o.waits {
		step := in - before
		if !(step > 0) { // nothing is known of the tick before, or it started again
			step = 0
		}
		o.add, o.waits = o.last+step-in, false
		o.last += step
		return o.last
	}
	o.begun, o.last = true, in+o.add
	return o.last
}

// move returns the counter's value in the stream. Nothing is known of the tick
// before where that is [arc.Absent].
func (c *count) move(in, before uint64, seam bool) uint64 {
	c.waits = c.waits || seam && c.begun
	if in == arc.Absent {
		return in
	}
	if c.waits {
		step := uint64(0)
		if before != arc.Absent && in > before {
			step = in - before
		}
		c.add, c.waits = c.last+step-in, false
	}
	c.begun, c.last = true, in+c.add
	return c.last
}

// sweep moves the cgroups.
func (s *Stream) sweep(in, before *arc.Sample) {
	to, from := &s.out.Cgroups, &in.Cgroups
	to.Reset()
	to.Truncated = from.Truncated
	var earlier map[uint64]int
	if s.seam {
		earlier = rows(&before.Cgroups)
	}
	for row, id := range from.ID {
		l := s.live(id)
		parent := from.Parent[row]
		if p, ok := s.lives[parent]; ok {
			parent = p.id
		}
		to.Append(l.id, parent)
		for f := range arc.NumCgroupFields {
			v := from.Value(f, row)
			if arc.CgroupFields[f].Kind == arc.Counter {
				was := arc.Absent
				if then, ok := earlier[id]; ok {
					was = before.Cgroups.Value(f, then)
				}
				v = l.counters[f].move(v, was, s.seam)
			}
			to.Set(f, row, v)
		}
	}
}

func rows(s *arc.Sweep) map[uint64]int {
	m := make(map[uint64]int, s.Len())
	for row, id := range s.ID {
		m[id] = row
	}
	return m
}

// live returns the life of a cgroup of the recording: the one it had at the tick
// before, or a new one.
func (s *Stream) live(id uint64) *life {
	l, ok := s.lives[id]
	switch {
	case !ok:
		l = &life{id: id}
		s.lives[id] = l
	case l.seen+1 < s.played: // it was gone
		delete(s.ids, l.id)
		*l = life{id: s.next}
		s.next++
	}
	l.seen = s.played
	s.ids[l.id] = id
	return l
}

// Path is that of a cgroup of the stream.
func (s *Stream) Path(id uint64) string { return s.tape.paths[s.ids[id]] }

// Age is that of a cgroup of the stream at its last tick, as it was recorded;
// negative where it is not known.
func (s *Stream) Age(id uint64) time.Duration {
	return s.tape.age(s.ids[id], s.tape.Ticks[max(s.at-1, 0)].Taken)
}

// Recorded is the tick of the recording that was played last.
func (s *Stream) Recorded() *arc.Sample { return &s.tape.Ticks[max(s.at-1, 0)] }
