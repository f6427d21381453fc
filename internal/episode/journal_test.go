// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func ids(records []Record) []uint64 {
	out := make([]uint64, 0, len(records))
	for i := range records {
		out = append(out, records[i].ID)
	}
	return out
}

func TestEveryRecordIsReadOnceInOrder(t *testing.T) {
	j := NewJournal(8)
	assert.Empty(t, j.Read(0, nil), "nothing recorded yet")
	for want := uint64(1); want <= 3; want++ {
		assert.Equal(t, want, j.Append(Record{Reason: "because"}))
	}
	got := j.Read(0, nil)
	assert.Equal(t, []uint64{1, 2, 3}, ids(got))
	assert.Equal(t, "because", got[0].Reason)
	assert.Equal(t, []uint64{3}, ids(j.Read(2, nil)))
	assert.Empty(t, j.Read(3, nil))
	assert.Empty(t, j.Read(^uint64(0), nil), "a cursor ahead of the journal reads nothing")
}

func TestReadFillsTheMemoryItIsGiven(t *testing.T) {
	j := NewJournal(100)
	for range 50 {
		j.Append(Record{})
	}
	into := make([]Record, 0, 40)
	got := j.Read(5, into)
	require.Len(t, got, 40)
	assert.Equal(t, uint64(6), got[0].ID)
	assert.Equal(t, uint64(45), got[39].ID)
	assert.Same(t, &into[:1][0], &got[0])
	assert.Zero(t, testing.AllocsPerRun(10, func() { into = j.Read(0, into) }))
}

func TestAFullJournalKeepsTheNewestAndShowsTheGap(t *testing.T) {
	j := NewJournal(4)
	for range 10 {
		j.Append(Record{})
	}
	got := j.Read(2, nil)
	assert.Equal(t, []uint64{7, 8, 9, 10}, ids(got))
	assert.Equal(t, uint64(4), got[0].ID-2-1, "records 3 to 6 came too late for this reader")
	assert.Equal(t, Stats{Capacity: 4, Held: 4, Oldest: 7, Newest: 10, Dropped: 6}, j.Stats())
	assert.Equal(t, uint64(6), j.Dropped())
}

func TestWaitIsOneSignalForAnyNumberOfAppends(t *testing.T) {
	j := NewJournal(4)
	wake, second := j.Wait(), j.Wait()
	select {
	case <-wake:
		t.Fatal("signalled before anything was recorded")
	default:
	}
	j.Append(Record{})
	j.Append(Record{})
	<-wake
	<-second // every reader is woken
	select {
	case <-j.Wait():
		t.Fatal("an old append wakes a new wait")
	default:
	}
}

func TestTheCallerMayReuseWhatItRecorded(t *testing.T) {
	j := NewJournal(4)
	order, outcome := &arc.Order{Cgroup: 7}, &arc.Outcome{Value: 9}
	j.Append(Record{Kind: Action, Order: order, Outcome: outcome})
	order.Cgroup, outcome.Value = 0, 0
	got := j.Read(0, nil)[0]
	assert.Equal(t, uint64(7), got.Order.Cgroup)
	assert.Equal(t, uint64(9), got.Outcome.Value)

	j.Append(Record{Kind: Action, Outcome: outcome})
	assert.Nil(t, j.Read(1, nil)[0].Order)
}

func TestAppendDoesNotAllocate(t *testing.T) {
	j := NewJournal(64)
	r := Record{Kind: LevelChanged, Source: "ebpf", Reason: "velocity"}
	assert.Zero(t, testing.AllocsPerRun(100, func() { j.Append(r) }))
	r.Order, r.Outcome = &arc.Order{}, &arc.Outcome{}
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { j.Append(r) }), 1.0)
}

func TestTickToKnobNeedsBothEnds(t *testing.T) {
	for _, c := range []struct {
		scheduled, written int64
		want               time.Duration
	}{{1000, 3500, 2500}, {0, 3500, 0}, {1000, 0, 0}, {3500, 1000, 0}} {
		r := Record{Scheduled: c.scheduled, Written: c.written}
		assert.Equal(t, c.want, r.TickToKnob())
	}
}

// The model of a journal is the list of everything ever recorded.
func TestJournalAgreesWithAnUnboundedList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(0, 40).Draw(t, "capacity")
		j := NewJournal(capacity)
		capacity = max(capacity, 1)
		var model []uint64 // sequence numbers, in order
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := rapid.Uint64().Draw(t, "sequence")
				model = append(model, n)
				require.Equal(t, uint64(len(model)), j.Append(Record{Sequence: n}))
			},
			"read": func(t *rapid.T) {
				after := rapid.Uint64Range(0, uint64(len(model))+2).Draw(t, "after")
				room := rapid.IntRange(0, 50).Draw(t, "room")
				got := j.Read(after, make([]Record, 0, room))
				if room == 0 {
					room = capacity
				}
				first := max(int(after), len(model)-capacity) // index of the first record due
				var want []uint64
				if first < len(model) {
					want = model[first:min(first+room, len(model))]
				}
				require.Len(t, got, len(want))
				for i, r := range got {
					require.Equal(t, uint64(first+i+1), r.ID)
					require.Equal(t, want[i], r.Sequence)
				}
			},
			"": func(t *rapid.T) {
				s := j.Stats()
				require.Equal(t, uint64(len(model)), s.Newest)
				require.Equal(t, min(len(model), capacity), s.Held)
				require.Equal(t, uint64(len(model)), s.Dropped+uint64(s.Held))
				if s.Held > 0 {
					require.Equal(t, uint64(s.Held), s.Newest-s.Oldest+1)
				}
			},
		})
	})
}

// Of two models, one for each kind of record, what a full journal holds is the newest of
// both, and of those that are vital all but a quarter, where there were as many.
func TestRoutineIsDisplacedFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.IntRange(1, 40).Draw(t, "capacity")
		j := NewJournal(capacity)
		var vital, routine []uint64
		held := func() (v, r []uint64) {
			last := uint64(0)
			for _, rec := range j.Read(0, nil) {
				require.Greater(t, rec.ID, last, "in order")
				if last = rec.ID; rec.Routine() {
					r = append(r, rec.ID)
				} else {
					v = append(v, rec.ID)
				}
			}
			return v, r
		}
		for range rapid.IntRange(0, 200).Draw(t, "records") {
			if rapid.Bool().Draw(t, "routine") {
				routine = append(routine, j.Append(Record{Kind: Action, Outcome: &arc.Outcome{Verdict: arc.VerdictHeld}}))
			} else {
				vital = append(vital, j.Append(Record{Kind: LevelChanged}))
			}
			v, r := held()
			require.Equal(t, min(len(vital)+len(routine), capacity), len(v)+len(r))
			require.True(t, slices.Equal(vital[len(vital)-len(v):], v), "the newest %d of %v are not %v", len(v), vital, v)
			require.True(t, slices.Equal(routine[len(routine)-len(r):], r), "the newest %d of %v are not %v", len(r), routine, r)
			most := capacity - max(capacity/leastRoutine, 1)
			require.GreaterOrEqual(t, len(v), min(most, len(vital)), "what is vital has the rest")
		}
		after := rapid.Uint64Range(0, 200).Draw(t, "after")
		for _, rec := range j.Read(after, nil) {
			require.Greater(t, rec.ID, after)
		}
	})
}

func TestAJournalTakesUpAnother(t *testing.T) {
	first := NewJournal(10)
	for range 3 {
		first.Append(Record{Reason: "before"})
	}
	first.Mark("logs", 2)
	first.Mark("logs", 1)
	assert.Equal(t, uint64(2), first.Marked("logs"), "it only moves forward")
	second := NewJournal(10)
	second.Restore(first.Read(0, nil), first.Stats().Newest, first.Marks())
	assert.Equal(t, uint64(3), second.Began())
	assert.Equal(t, uint64(2), second.Marked("logs"))
	assert.Equal(t, uint64(4), second.Append(Record{Reason: "after"}))
	assert.Equal(t, []uint64{3, 4}, ids(second.Read(2, nil)))
	small := NewJournal(2)
	small.Restore(first.Read(0, nil), 3, nil)
	assert.Equal(t, []uint64{2, 3}, ids(small.Read(0, nil)))
	assert.Equal(t, Stats{Capacity: 2, Held: 2, Oldest: 2, Newest: 3}, small.Stats(), "and nothing was displaced yet")
	small.Mark("a", 1)
	assert.Equal(t, map[string]uint64{"a": 1}, small.Marks())
}

func TestShiftMovesWhatIsKnown(t *testing.T) {
	r := Record{Onset: 0, Scheduled: 10, Written: 20, Order: &arc.Order{Scheduled: 10}, Outcome: &arc.Outcome{Deadline: 30}}
	r.Shift(-100)
	assert.Equal(t, Record{Scheduled: -90, Written: -80, Order: &arc.Order{Scheduled: -90}, Outcome: &arc.Outcome{Deadline: -70}}, r)
}

func TestConcurrentWritersAndReadersAgreeOnTheOrder(t *testing.T) {
	const writers, each = 4, 500
	j := NewJournal(writers * each)
	var writing sync.WaitGroup
	for range writers {
		writing.Go(func() {
			for range each {
				j.Append(Record{Order: &arc.Order{}})
			}
		})
	}
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			buffer := make([]Record, 0, 33)
			for cursor := uint64(0); cursor < writers*each; {
				wake := j.Wait()
				got := j.Read(cursor, buffer)
				if len(got) == 0 {
					<-wake
				}
				for _, r := range got {
					if cursor++; r.ID != cursor {
						t.Errorf("read record %d where %d was due", r.ID, cursor)
						return
					}
				}
			}
		})
	}
	writing.Wait()
	reading.Wait()
	assert.Zero(t, j.Dropped())
}

func BenchmarkAppend(b *testing.B) {
	j := NewJournal(4096)
	r := Record{Kind: LevelChanged, Source: "ebpf", Reason: "velocity"}
	b.ReportAllocs()
	for b.Loop() {
		j.Append(r)
	}
}
