// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestAReplayIsTheRecording(t *testing.T) {
	tape := machine(1, 1000)
	s := Replay(tape)
	for i := range tape.Ticks {
		got, seam := s.Next()
		require.NotNil(t, got)
		require.False(t, seam)
		want := &tape.Ticks[i]
		require.Equal(t, want.Node, got.Node)
		require.Equal(t, []int64{want.Scheduled, want.Taken, want.WallTime}, []int64{got.Scheduled, got.Taken, got.WallTime})
		require.Equal(t, want.Sequence, got.Sequence)
		require.Equal(t, want.Cgroups.ID, got.Cgroups.ID)
		require.Equal(t, want.Cgroups.Parent, got.Cgroups.Parent)
		for f := range arc.NumCgroupFields {
			for row := range want.Cgroups.ID {
				require.Equal(t, want.Cgroups.Value(f, row), got.Cgroups.Value(f, row))
			}
		}
	}
	end, _ := s.Next()
	assert.Nil(t, end)
}

// recombine plays so many ticks and tells every one, with what was before it in the
// stream and in the tape.
func recombine(tape *Tape, seed uint64, ticks int, each func(s *Stream, got *arc.Sample, seam bool)) *Stream {
	s := Recombine(tape, rand.New(rand.NewPCG(seed, 0)))
	for range ticks {
		got, seam := s.Next()
		each(s, got, seam)
	}
	return s
}

func TestCountersAndTimesGoOnOverSeams(t *testing.T) {
	tape := machine(2, 3000)
	seams := 0
	var last arc.Sample
	recombine(tape, 1, 6000, func(s *Stream, got *arc.Sample, seam bool) {
		defer func() {
			last = *got
		}()
		if seam {
			seams++
		}
		if last.Sequence == 0 {
			return
		}
		in, before := s.Recorded(), &tape.Ticks[s.at-2]
		require.Equal(t, last.Scheduled+tick, got.Scheduled)
		require.Equal(t, last.Sequence+1, got.Sequence)
		require.Equal(t, last.WallTime+tick, got.WallTime)
		require.Equal(t, in.Taken-in.Scheduled, got.Taken-got.Scheduled, "lateness")
		for f, field := range arc.NodeFields {
			if field.Kind == arc.Counter {
				require.InDelta(t, in.Node[f]-before.Node[f], got.Node[f]-last.Node[f], 1e-6, field.Name)
			} else {
				require.Equal(t, in.Node[f], got.Node[f], field.Name)
			}
		}
	})
	assert.Greater(t, seams, 5)
}

func TestACgroupHasOneLifeAndItsCountersGrow(t *testing.T) {
	tape := machine(3, 3000)
	const gone = math.MaxInt
	seen := map[uint64]int{}
	parents := map[uint64]uint64{}
	paths := map[uint64]string{}
	counters := map[uint64][arc.NumCgroupFields]uint64{}
	n, reborn := 0, 0
	recombine(tape, 1, 6000, func(s *Stream, got *arc.Sample, _ bool) {
		n++
		for row, id := range got.Cgroups.ID {
			at, known := seen[id]
			if known {
				require.Equal(t, n-1, at, "cgroup %d was gone, and is back", id)
				require.Equal(t, parents[id], got.Cgroups.Parent[row])
				require.Equal(t, paths[id], s.Path(id))
			} else if s.ids[id] != id {
				reborn++
			}
			seen[id], parents[id], paths[id] = n, got.Cgroups.Parent[row], s.Path(id)
			require.NotEmpty(t, s.Path(id))
			before := counters[id]
			for f := range arc.NumCgroupFields {
				v := got.Cgroups.Value(f, row)
				switch { // not by require, which is slow
				case arc.CgroupFields[f].Kind != arc.Counter:
					if was := s.Recorded().Cgroups.Value(f, row); v != was {
						t.Fatalf("%s is %d, was recorded as %d", arc.CgroupFields[f].Name, v, was)
					}
				case v < before[f]:
					t.Fatalf("%s of cgroup %d ran from %d back to %d", arc.CgroupFields[f].Name, id, before[f], v)
				case known && v-before[f] >= 1e6:
					t.Fatalf("%s of cgroup %d jumps by %d, more than at any tick of the recording", arc.CgroupFields[f].Name, id, v-before[f])
				}
				before[f] = v
			}
			counters[id] = before
		}
		for id, at := range seen {
			if at < n {
				seen[id] = gone
			}
		}
	})
	assert.Greater(t, reborn, 3, "builds came back, as others")
}

// Where a value is missing at a seam, the counter waits for the next one.
func TestACounterThatIsMissingAtASeamGoesOn(t *testing.T) {
	var o offset
	assert.Equal(t, 10.0, o.move(10, 9, false))
	assert.True(t, math.IsNaN(o.move(math.NaN(), 3, true)))
	assert.Equal(t, 12.0, o.move(5, 3, false))
	assert.Equal(t, 13.0, o.move(6, 5, false))
	assert.Equal(t, 13.0, o.move(1, 5, true), "it started again there")
	var c count
	assert.Equal(t, uint64(10), c.move(10, 9, false))
	assert.Equal(t, arc.Absent, c.move(arc.Absent, 3, true))
	assert.Equal(t, uint64(12), c.move(5, 3, false))
	assert.Equal(t, uint64(13), c.move(6, 5, false))
	assert.Equal(t, uint64(13), c.move(4, arc.Absent, true))
}

// A seam is where memory jumps least: blocks put anywhere would jump much further.
func TestSeamsAreWhereTheMachineIsAlike(t *testing.T) {
	tape := machine(4, 6000)
	s := recombine(tape, 1, 20_000, func(*Stream, *arc.Sample, bool) {})
	chosen, anywhere := 0.0, 0.0
	for _, j := range s.jumps {
		chosen += j / float64(len(s.jumps))
	}
	random := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		a, b := random.IntN(len(tape.Ticks)), random.IntN(len(tape.Ticks))
		anywhere += math.Abs(tape.Ticks[a].Node[arc.NodeMemoryUsed]-tape.Ticks[b].Node[arc.NodeMemoryUsed]) / 1000
	}
	assert.Less(t, chosen, anywhere/4)
}
