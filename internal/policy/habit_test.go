// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// collector grows by 20 MB/s for 15 s and gives it back in one, again and again,
// as a collector of garbage does, until at; from then on it grows by rate.
func collector(at time.Duration, rate float64) *group {
	g := &group{id: 10, path: "/system.slice/heap.service", limit: gb, anon: 300 * mb}
	g.leak = func(t time.Duration) float64 {
		switch {
		case t >= at:
			return rate
		case t%(16*time.Second) >= 15*time.Second:
			return -300 * mb
		}
		return 20 * mb
	}
	return g
}

const always = time.Duration(1 << 62)

func TestWhoAlwaysComesBackIsNoCulprit(t *testing.T) {
	g := collector(always, 0)
	w := newWorld(t, DefaultConfig(), g, neighbour())
	w.anomalous = after(50 * time.Second)
	w.run(3 * time.Minute)
	assert.Empty(t, w.orders, w.story())
	declined := w.declined(CauseExpected)
	require.NotEmpty(t, declined, w.story())
	assert.Equal(t, "/system.slice/heap.service grows 20.0 MB/s, as it has before, to 598.0 MB, and came back: there is room for that", declined[0].Reason)
}

// Who was contained because nobody knew him is let go once he has come back by
// himself, and is known from then on.
func TestWhoComesBackUnderALeaseIsKnownByIt(t *testing.T) {
	g := collector(always, 0)
	w := newWorld(t, DefaultConfig(), g, neighbour())
	w.anomalous = after(3 * time.Second)
	w.runUntil(20*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	w.run(5 * time.Minute)
	require.Equal(t, arc.Unlimited, g.ceiling, w.story())
	n := len(w.orders)
	w.run(10 * time.Minute)
	assert.Len(t, w.orders, n, w.story())
}

// Without anything learned the same service would have been contained: it is what
// was seen in calm that excuses it, and nothing else.
func TestWhoIsNotKnownYetIsNotExpected(t *testing.T) {
	w := newWorld(t, DefaultConfig(), collector(always, 0), neighbour())
	w.anomalous = after(3 * time.Second)
	w.run(20 * time.Second)
	assert.NotEmpty(t, w.orders)
	assert.Empty(t, w.declined(CauseExpected))
}

func TestAHabitDoesNotExcuse(t *testing.T) {
	for name, tt := range map[string]struct {
		rate    float64
		prepare func(w *world, g *group)
		within  time.Duration // of the onset
	}{
		// From 560 MB: beyond the highest ever by a sixteenth, that is 637 MB.
		"growth that does not come back":  {20 * mb, nil, 5 * time.Second},
		"growth that is faster than ever": {80 * mb, nil, time.Second},
		"what there is no room for":       {20 * mb, func(_ *world, g *group) { g.limit = 650 * mb }, time.Second},
		"stalls of others":                {20 * mb, func(w *world, _ *group) { w.stall = from(60*time.Second, 0.3) }, 2 * time.Second},
		"an end by the OOM killer": {20 * mb, func(w *world, g *group) {
			waves := g.leak
			g.leak = func(t time.Duration) float64 {
				if t%(16*time.Second) >= 15*time.Second && t < 60*time.Second {
					w.oom = 1 + float64(t/(16*time.Second))
				}
				return waves(t)
			}
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			g := collector(61*time.Second, tt.rate) // at 560 MB, on the way up
			w := newWorld(t, DefaultConfig(), g, neighbour())
			if tt.prepare != nil {
				tt.prepare(w, g)
			}
			w.anomalous = after(61 * time.Second)
			at := w.runUntil(80*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
			assert.LessOrEqual(t, at-61*time.Second, tt.within, w.story())
			assert.Equal(t, uint64(10), w.orders[0].Cgroup)
		})
	}
}

// A leak whose memory is partly given back, time and again, has waves too, but
// each is higher than the one before.
func TestALeakWithWavesIsContained(t *testing.T) {
	g := &group{id: 10, path: "/system.slice/heap.service", limit: 2 * gb, anon: 300 * mb}
	g.leak = func(t time.Duration) float64 {
		if t%(4*time.Second) >= 3*time.Second {
			return -40 * mb
		}
		return 35 * mb
	}
	w := newWorld(t, DefaultConfig(), g, neighbour())
	w.anomalous = after(60 * time.Second)
	w.runUntil(80*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, uint64(10), w.orders[0].Cgroup)
}

// Who grows as expected is nobody's runner-up.
func TestWhoIsExpectedDoesNotShieldAnother(t *testing.T) {
	leak := &group{id: 12, path: "/system.slice/leak.service", limit: gb, anon: 300 * mb, leak: from(50*time.Second, 30*mb)}
	w := newWorld(t, DefaultConfig(), collector(always, 0), leak)
	w.anomalous = after(50 * time.Second)
	w.runUntil(55*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, uint64(12), w.orders[0].Cgroup)
	assert.Empty(t, w.declined(CauseMargin))
}

// tide is habits of one cgroup, told what it does.
type tide struct {
	habits *habits
	sample arc.Sample
	now    int64
	learn  bool
}

func newTide(id uint64) *tide {
	t := &tide{habits: newHabits(newGrowth(newTable(), arc.CgroupMemoryUsage)), now: 1e12, learn: true}
	t.is(id, 0, 0)
	return t
}

// is has cgroup id use so much a second later; 0 is nobody.
func (t *tide) is(id uint64, usage, swap float64) {
	t.now += 1e9
	s, g := &t.sample, t.habits.growth
	s.Taken = t.now
	s.Cgroups.Reset()
	s.Cgroups.Append(1, 0)
	if id != 0 {
		i := s.Cgroups.Append(id, 1)
		s.Cgroups.Set(arc.CgroupMemoryUsage, i, uint64(usage))
		s.Cgroups.Set(arc.CgroupMemorySwap, i, uint64(swap))
	}
	g.observe(t.now, &s.Cgroups)
	g.follow(t.now, &s.Cgroups)
	t.habits.observe(t.now, s, t.learn)
}

// crest is that of cgroup id, in MB.
func (t *tide) crest(id uint64) float64 {
	slot, ok := t.habits.growth.slots[id]
	if !ok {
		return 0
	}
	return float64(t.habits.crest(slot)) / mb
}

// held holds a lease on cgroup id.
func (t *tide) held(id uint64) { t.habits.hold(t.habits.growth.slots[id]) }

func TestWhatIsNoComingBack(t *testing.T) {
	for name, tt := range map[string]struct {
		live  func(w *tide)
		crest float64
	}{
		"by itself": {func(w *tide) { w.is(10, 300*mb, 0); w.is(10, 100*mb, 0) }, 300},
		"while tasks stalled, or somebody was killed": {func(w *tide) {
			w.is(10, 300*mb, 0)
			w.learn = false
			w.is(10, 100*mb, 0)
			w.learn = true
			w.is(10, 100*mb, 0)
		}, 0},
		"into swap": {func(w *tide) { w.is(10, 300*mb, 0); w.is(10, 100*mb, 200*mb) }, 0},
		"by itself, held by a lease": {func(w *tide) {
			w.is(10, 300*mb, 0)
			w.held(10)
			w.is(10, 100*mb, 0)
			w.habits.look(w.now, aged(time.Minute))
		}, 300},
		"by a restart, held by a lease": {func(w *tide) {
			w.is(10, 300*mb, 0)
			w.held(10)
			w.is(10, 100*mb, 0)
			w.habits.look(w.now, aged(time.Millisecond))
		}, 0},
		"held by a lease, by itself or not": {func(w *tide) {
			w.is(10, 300*mb, 0)
			w.held(10)
			w.is(10, 100*mb, 0)
			w.habits.look(w.now, nil)
		}, 0},
		"below where it began": {func(w *tide) { w.is(10, 2*mb, 0); w.is(10, 300*mb, 0); w.is(10, mb, 0) }, 300},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTide(10)
			tt.live(w)
			assert.InDelta(t, tt.crest, w.crest(10), 0.1)
		})
	}
}

// The plateau on which a cgroup is found is where it has been, too.
func TestWhereItStoodIsWhereItHasBeen(t *testing.T) {
	w := newTide(11)
	for _, usage := range []float64{162, 162, 160, 158, 156, 154, 148} {
		w.is(10, usage*mb, 0)
	}
	assert.InDelta(t, 162, w.crest(10), 0.1)
}

func TestHabitsFollowTheNameIntoTheNextCgroup(t *testing.T) {
	names := map[uint64]string{10: "/build.scope", 11: "/build.scope", 12: "/else.scope"}
	looked := 0
	look := named(func(id uint64) string { looked++; return names[id] })
	w := newTide(9)
	job := func(id uint64, top float64, last time.Duration) {
		for at := 0.2; at <= 1; at += 0.2 {
			w.is(id, at*top, 0)
			w.habits.look(w.now, look)
		}
		w.now += int64(last)
		w.is(0, 0, 0) // it ends
	}
	job(10, 200*mb, 0)
	assert.Equal(t, 1, looked, "once for a cgroup")
	w.is(11, 20*mb, 0)
	w.habits.look(w.now, look)
	assert.Zero(t, w.crest(11), "nobody asks who it is before there is a reason")
	w.is(11, 50*mb, 0)
	w.habits.look(w.now, look)
	assert.InDelta(t, 200, w.crest(11), 0.1, "the end of a batch is a coming back, and its name knows")
	job(12, 100*mb, 0)
	assert.InDelta(t, 200, float64(w.habits.named["/build.scope"].crests[0].height)/mb, 0.1)
	assert.InDelta(t, 100, float64(w.habits.named["/else.scope"].crests[0].height)/mb, 0.1)

	names[13] = "/service"
	job(13, 400*mb, time.Duration(batch))
	assert.Zero(t, w.habits.named["/service"].crests[0].height, "who was given up after long is no batch")
	names[14] = "/killed.scope"
	for at := 0.2; at <= 1; at += 0.2 {
		w.is(14, at*200*mb, 0)
		w.habits.look(w.now, look)
		w.held(14)
	}
	w.is(0, 0, 0)
	assert.Zero(t, w.habits.named["/killed.scope"].crests[0].height, "an end under a lease may be somebody's doing")

	for id := uint64(100); id < 100+maxNamed; id++ {
		names[id] = fmt.Sprint("/", id)
		job(id, 100*mb, 0)
	}
	assert.Len(t, w.habits.named, maxNamed)
	assert.NotContains(t, w.habits.named, "/build.scope", "not seen for longest")
	w.now += habitFor
	w.is(0, 0, 0)
	w.now += habitFor
	w.is(0, 0, 0)
	assert.Empty(t, w.habits.named)
}

// aged is an inspector that finds everybody so old.
type aged time.Duration

func (a aged) Inspect(_ uint64, _ Aspect, into *Inspection) error {
	*into = Inspection{Age: time.Duration(a)}
	return nil
}

func (aged) Flooded() (Interface, error) { return Interface{}, errors.New("none") }

// named is an inspector that knows names.
type named func(id uint64) string

func (n named) Inspect(id uint64, _ Aspect, into *Inspection) error {
	*into = Inspection{Name: n(id)}
	return nil
}

func (named) Flooded() (Interface, error) { return Interface{}, errors.New("none") }

func TestBackToWhereItHasBeenAtAnyPace(t *testing.T) {
	for _, tt := range []struct {
		usage, available float64
		expects          bool
	}{
		{1040, 2000, true},  // on the way there, at 80 MB/s
		{1040, 310, false},  // no room for 90 MB, and 3 s beyond
		{1129, 2000, true},  // nearly there
		{1131, 2000, false}, // beyond, faster than ever
	} {
		w := newTide(11)
		for _, usage := range []float64{1100, 1110, 1120, 1130, 500, tt.usage - 160, tt.usage - 80, tt.usage} {
			w.is(10, usage*mb, 0)
		}
		require.InDelta(t, 1130, w.crest(10), 0.1)
		assert.Equal(t, tt.expects, w.habits.expects(w.habits.growth.slots[10], uint64(tt.usage*mb), uint64(tt.available*mb)), "%+v", tt)
	}
}

// Only who gives back half of a rise, and of more than a ripple, has come back.
func TestWhatIsComingBack(t *testing.T) {
	for name, tt := range map[string]struct{ rise, back, crest float64 }{
		"a dip":       {300 * mb, 100 * mb, 0},
		"coming back": {300 * mb, 160 * mb, 600 * mb},
		"a ripple":    {3 * mb, 3 * mb, 0},
	} {
		t.Run(name, func(t *testing.T) {
			g := &group{id: 10, path: "/a.service", anon: 300 * mb}
			g.leak = func(t time.Duration) float64 {
				return between(2*time.Second, 12*time.Second, tt.rise/10)(t) - between(15*time.Second, 16*time.Second, tt.back)(t)
			}
			w := newWorld(t, DefaultConfig(), g)
			w.run(20 * time.Second)
			assert.InDelta(t, tt.crest, w.policy.memory.habits.crest(w.policy.table.slots[10]), 4*mb)
		})
	}
}

func TestHabitsAreForgotten(t *testing.T) {
	w := newWorld(t, DefaultConfig(), collector(20*time.Second, 0))
	w.run(20 * time.Second)
	h, slot := w.policy.memory.habits, w.policy.table.slots[10]
	assert.InDelta(t, 600*mb, h.crest(slot), 20*mb)
	for _, kept := range []bool{true, false} { // nobody has a calm day like that
		w.now += habitFor
		w.tick()
		assert.Equal(t, kept, h.crest(slot) != 0)
	}
	w.group(10).gone = true
	w.run(w.since() + 10*time.Second)
	assert.NotContains(t, w.policy.table.slots, uint64(10))
	h.of[slot].own.crests[0].height = gb
	h.clear(slot)
	assert.Zero(t, h.crest(slot), "who comes next has none of it")
}

// Page cache gathers, and waves come back to ever higher lows: it is by how much they
// rise that is the same.
func TestAWaveIsKnownByItsRise(t *testing.T) {
	w := newTide(10)
	for range 40 { // settled
		w.is(10, 60*mb, 0)
	}
	for low := 60.0; low <= 120; low += 20 {
		for _, usage := range []float64{low, low + 30, low + 50, low + 20, low + 20} {
			w.is(10, usage*mb, 0)
		}
	}
	for range 40 {
		w.is(10, 160*mb, 0)
	}
	assert.InDelta(t, 160+30, w.crest(10), 0.1, "its low, and what it last rose above the lows around")
	h, slot := w.habits, w.habits.growth.slots[10]
	w.is(10, 180*mb, 0)
	assert.True(t, h.expects(slot, 180*mb, gb))
	w.is(10, 300*mb, 0)
	assert.False(t, h.expects(slot, 300*mb, gb))
}

// What stays is no part of the next wave: it has to come back to there only.
func TestTheNextWaveBeginsWhereUsageStays(t *testing.T) {
	for name, tt := range map[string]struct {
		stays int
		crest float64
	}{
		"for long":  {40, 120},
		"for a bit": {20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTide(10)
			for range tt.stays {
				w.is(10, 90*mb, 0)
			}
			w.is(10, 120*mb, 0)
			w.is(10, 95*mb, 0)
			assert.InDelta(t, tt.crest, w.crest(10), 0.1)
		})
	}
}

// A leak that was contained and stays below its ceiling is no habit when its process
// is started again.
func TestWhatStaysUnderALeaseIsStillHeld(t *testing.T) {
	w := newTide(10)
	w.is(10, 300*mb, 0)
	w.held(10)
	for range 40 {
		w.is(10, 300*mb, 0)
	}
	w.is(10, 20*mb, 0)
	w.habits.look(w.now, aged(time.Millisecond))
	assert.Zero(t, w.crest(10))
}
