// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package flight

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

var set = Settings{Before: 3 * time.Second, After: 2 * time.Second, Interval: 100 * time.Millisecond}

// tape makes samples, 100 ms apart.
type tape struct {
	sample  arc.Sample
	cgroups int
}

func (t *tape) next() *arc.Sample {
	s := &t.sample
	s.Sequence++
	s.Taken = int64(s.Sequence) * 1e8
	for f := range s.Node {
		s.Node[f] = float64(s.Sequence)
	}
	s.Cgroups.Reset()
	for i := range t.cgroups {
		row := s.Cgroups.Append(uint64(i)+1, 0)
		for _, c := range Columns {
			s.Cgroups.Set(c, row, s.Sequence*uint64(i+1))
		}
	}
	return s
}

// drain takes all that is pending in batches.
func drain(r *Recorder) (all []uint64) {
	for {
		batch := r.Next(7, nil)
		if len(batch) == 0 {
			return all
		}
		for _, s := range batch {
			all = append(all, s.Sequence)
		}
		r.Done(true)
	}
}

func between(first, last uint64) (all []uint64) {
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

func TestAnAnomalyIsKeptFromBeforeToAfter(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 3}
	for range 100 {
		r.Add(tape.next(), false)
	}
	assert.Zero(t, r.Pending(), "in calm nothing is")
	for range 10 { // 101 to 110
		r.Add(tape.next(), true)
	}
	all := drain(r)
	for range 100 {
		r.Add(tape.next(), false)
	}
	assert.Equal(t, between(71, 130), append(all, drain(r)...), "3 s before the first, 2 s after the last")
	assert.Zero(t, r.TakeDropped())
	assert.Zero(t, r.Pending())
	select {
	case <-r.Ready():
	default:
		assert.Fail(t, "it was said")
	}
}

func TestWhatIsRememberedIsWhatWas(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 3}
	r.Add(tape.next(), false)
	r.Add(tape.next(), true)
	r.Add(tape.next(), true)
	got := r.Next(10, nil)
	require.Len(t, got, 2)
	for i, s := range got {
		assert.InDelta(t, float64(i+1), s.Node[arc.NodeMemoryUsed], 0)
		assert.Equal(t, []uint64{1, 2, 3}, s.Cgroups.ID)
		assert.Equal(t, uint64(2*(i+1)), s.Cgroups.Value(arc.CgroupMemoryUsage, 1))
		assert.Equal(t, arc.Absent, s.Cgroups.Value(arc.CgroupMemoryMax, 1), "not remembered is absent")
	}
}

func TestWhatIsNotAcceptedStaysUntilThereIsNoRoom(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 1}
	for range 100 {
		r.Add(tape.next(), false)
	}
	r.Add(tape.next(), true)
	batch := r.Next(5, nil)
	require.Len(t, batch, 5)
	r.Done(false)
	for range 500 {
		r.Add(tape.next(), true)
	}
	r.Add(tape.next(), true) // 602 is on its way
	all := drain(r)
	dropped := r.TakeDropped()
	assert.LessOrEqual(t, len(all), r.most)
	assert.Equal(t, uint64(601), all[len(all)-1], "the newest are there")
	assert.Equal(t, between(all[0], 601), all, "without a gap")
	assert.Equal(t, uint64(601-71+1), dropped+uint64(len(all)), "the others are counted")
	for range 200 {
		r.Add(tape.next(), false)
	}
	drain(r)
	for range 100 {
		r.Add(tape.next(), false)
	}
	assert.Len(t, r.frames, r.calm, "and the room is given back")
}

func TestWhatWasDeliveredAnotherWayIsNotPending(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 1}
	for range 30 {
		s := tape.next()
		r.Add(s, false)
		if s.Sequence%10 == 0 {
			r.Delivered(s.Sequence) // as in calm
		}
	}
	r.Add(tape.next(), true)
	r.Delivered(31)
	r.Add(tape.next(), true)
	all := drain(r)
	assert.Len(t, all, 27)
	assert.NotContains(t, all, uint64(20))
	assert.NotContains(t, all, uint64(31))
}

func TestTheNewestTickIsNotGivenOut(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 1}
	for range 9 {
		r.Add(tape.next(), true)
	}
	assert.Len(t, r.Next(5, nil), 5)
	r.Done(true)
	assert.Len(t, r.Next(100, nil), 3, "it may be on another way")
	r.Done(true)
	assert.Equal(t, 1, r.Pending())
	r.Add(tape.next(), false)
	assert.Len(t, r.Next(100, nil), 1)
}

func TestOfManyCgroupsThoseThatMovedAreRemembered(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 1000}
	for range 150 {
		r.Add(tape.next(), false)
	}
	r.Add(tape.next(), true)
	r.Add(tape.next(), true)
	got := r.Next(1000, nil)
	require.NotEmpty(t, got)
	last := got[len(got)-1].Cgroups
	assert.Len(t, last.ID, MostCgroups)
	assert.Contains(t, last.ID, uint64(1000), "which moves fastest")
	assert.NotContains(t, last.ID, uint64(1))
}

func TestExtremesAreOfGaugesSinceTheyWereTaken(t *testing.T) {
	r := New(set)
	var s arc.Sample
	for f := range s.Node {
		s.Node[f] = math.NaN()
	}
	for _, v := range []float64{5, 2, 9, math.NaN(), 4} {
		s.Sequence++
		s.Node[arc.NodeMemoryUsed], s.Node[arc.NodeForks] = v, v
		r.Add(&s, false)
	}
	e := r.TakeExtremes()
	assert.InDelta(t, 2, e.Min[arc.NodeMemoryUsed], 0)
	assert.InDelta(t, 9, e.Max[arc.NodeMemoryUsed], 0)
	assert.True(t, math.IsNaN(e.Min[arc.NodeForks]), "a counter has none")
	e = r.TakeExtremes()
	assert.True(t, math.IsNaN(e.Max[arc.NodeMemoryUsed]), "taken is taken")
}

func TestInCalmNothingIsAllocated(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 200}
	for range 200 {
		r.Add(tape.next(), false)
	}
	assert.Zero(t, testing.AllocsPerRun(200, func() { r.Add(tape.next(), false) }))
}

// Whatever comes when: every tick of an anomaly is given out once, in order, or counted
// as dropped, and none of calm is.
func TestEveryTickOfAnAnomalyIsGivenOutOrCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, tape := New(set), &tape{cgroups: 2}
		wanted := map[uint64]bool{}
		given := map[uint64]bool{}
		var dropped, last uint64
		lastAnomaly := uint64(0)
		for range rapid.IntRange(1, 12).Draw(t, "phases") {
			anomalous, failing := rapid.Bool().Draw(t, "anomalous"), rapid.Bool().Draw(t, "failing")
			for range rapid.IntRange(1, 120).Draw(t, "ticks") {
				s := tape.next()
				r.Add(s, anomalous)
				if anomalous {
					lastAnomaly = s.Sequence
					for n := max(1, int(s.Sequence)-30); n <= int(s.Sequence); n++ {
						wanted[uint64(n)] = true
					}
				} else if lastAnomaly > 0 && s.Sequence <= lastAnomaly+20 {
					wanted[s.Sequence] = true
				}
				if batch := r.Next(20, nil); !failing && len(batch) > 0 {
					for _, b := range batch {
						require.False(t, given[b.Sequence], "once")
						require.Greater(t, b.Sequence, last, "in order")
						given[b.Sequence], last = true, b.Sequence
					}
					r.Done(true)
				} else {
					r.Done(false)
				}
				require.LessOrEqual(t, len(r.frames), r.most+r.calm+1)
			}
		}
		for range 30 { // until the anomaly's end is over, too
			s := tape.next()
			r.Add(s, false)
			if lastAnomaly > 0 && s.Sequence <= lastAnomaly+20 {
				wanted[s.Sequence] = true
			}
		}
		for _, n := range drain(r) {
			given[n] = true
		}
		dropped = r.TakeDropped()
		for n := range given {
			require.True(t, wanted[n], "%d is of calm", n)
		}
		require.Equal(t, uint64(len(wanted)), uint64(len(given))+dropped)
	})
}

func BenchmarkAdd(b *testing.B) {
	b.ReportAllocs()
	r, tape := New(Settings{Before: 30 * time.Second, After: 30 * time.Second, Interval: 100 * time.Millisecond}), &tape{cgroups: 200}
	s := tape.next()
	for b.Loop() {
		s.Sequence++
		s.Taken += 1e8
		r.Add(s, false)
	}
}

func TestSeveralAnomaliesInOneOutageAreBounded(t *testing.T) {
	r, tape := New(set), &tape{cgroups: 2}
	for range 50 {
		for range 40 {
			r.Add(tape.next(), false)
		}
		for range 10 {
			r.Add(tape.next(), true)
		}
		r.Next(20, nil)
		r.Done(false)
		require.LessOrEqual(t, r.Pending(), r.most)
		require.LessOrEqual(t, len(r.frames), r.most+r.calm)
	}
	assert.Positive(t, r.TakeDropped())
}

func TestExtremesThatNobodyWasToldOfAreGivenBack(t *testing.T) {
	r := New(set)
	var s arc.Sample
	for _, v := range []float64{5, 9} {
		s.Sequence++
		s.Node[arc.NodeMemoryUsed] = v
		r.Add(&s, false)
	}
	e := r.TakeExtremes()
	s.Node[arc.NodeMemoryUsed] = 7
	r.Add(&s, false)
	r.ReturnExtremes(&e)
	e = r.TakeExtremes()
	assert.InDelta(t, 5, e.Min[arc.NodeMemoryUsed], 0)
	assert.InDelta(t, 9, e.Max[arc.NodeMemoryUsed], 0)
}
