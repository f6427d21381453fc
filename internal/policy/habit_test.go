// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		"what there is no room for":       {20 * mb, func(_ *world, g *group) { g.limit = 700 * mb }, time.Second},
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

func TestWhatIsLearnedInTroubleIsNoHabit(t *testing.T) {
	w := newWorld(t, DefaultConfig(), collector(always, 0), neighbour())
	w.anomalous = after(0)
	w.blind = true // nobody is touched
	w.run(49 * time.Second)
	assert.Zero(t, w.policy.memory.habits.crest(w.policy.table.slots[10]))
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
	h.waves[slot].crests[0].height = gb
	h.clear(slot)
	assert.Zero(t, h.crest(slot), "who comes next has none of it")
}
