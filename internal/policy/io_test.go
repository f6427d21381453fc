// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// writer writes more than the disk takes from 20 s on.
func writer() *group {
	return &group{id: 10, path: "/dump.service", plant: plant{writes: from(20*time.Second, 900*mb)}}
}

func TestIOStormGetsLessWeightWhereWeightsWork(t *testing.T) {
	w := newWorld(t, DefaultConfig(), writer(), service())
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	assert.Equal(t, []arc.Action{arc.ActionIOWeight}, w.actions(), w.story())
	assert.Equal(t, uint64(10), w.orders[0].Cgroup)
	granted := w.of(Answered)[0]
	assert.Equal(t, HarmIO, granted.Harm.Kind)
	assert.Contains(t, granted.Reason, "others wait for I/O")
}

func TestIOStormIsCappedWhereWeightsDoNothing(t *testing.T) {
	for name, prepare := range map[string]func(*world){
		"and the guard does not know it": func(w *world) { w.weightless = true },
		"and the guard knows it":         func(w *world) { w.lacks = map[arc.Action]bool{arc.ActionIOWeight: true} },
		"and the kernel does not know it": func(w *world) {
			w.refuse = func(o arc.Order) (arc.Outcome, bool) {
				require.Less(t, len(w.actions()), 3, "asked once")
				return arc.Outcome{Verdict: arc.VerdictRefused, Cause: "this kernel does not know io.weight: it has no iocost"}, o.Action == arc.ActionIOWeight
			}
		},
		"and the guard refuses it": func(w *world) {
			w.refuse = func(o arc.Order) (arc.Outcome, bool) {
				return arc.Outcome{Verdict: arc.VerdictRefused, Cause: "neither iocost nor BFQ is active"}, o.Action == arc.ActionIOWeight
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, DefaultConfig(), writer(), service())
			prepare(w)
			w.anomalous = after(20 * time.Second)
			w.run(60 * time.Second)
			actions := w.actions()
			last := actions[len(actions)-1]
			require.Equal(t, arc.ActionIOMaxWrite, last, w.story())
			assert.LessOrEqual(t, len(actions), 3, "no storm of orders: %v", actions)
			assert.Equal(t, LevelPressure, w.policy.level)
			o := w.orders[len(w.orders)-1]
			assert.Equal(t, uint64(8<<32), o.Device)
			assert.InDelta(t, 100*mb, float64(o.Parameter), 10*mb, "half of what it wrote")
		})
	}
}

func TestIOOfWhomNobodyWaitsForIsLeftAlone(t *testing.T) {
	cache := &group{id: 10, path: "/backup.service", limit: 4 * gb, plant: plant{reads: from(20*time.Second, 150*mb)}, read: from(20*time.Second, 150*mb)}
	w := newWorld(t, DefaultConfig(), cache, service())
	w.disk = 2 * gb // a page-cache storm that the disk serves easily
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	assert.Empty(t, w.orders, w.story())

	w = newWorld(t, DefaultConfig(), writer())
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	assert.Empty(t, w.orders, "who waits for himself alone: %s", w.story())
}

func TestVictimOfAnIOStormIsNotHit(t *testing.T) {
	// The victim waits all the time and moves little; the culprit hardly waits,
	// for the page cache takes what it writes.
	victim := &group{id: 12, path: "/victim.service", plant: plant{reads: func(time.Duration) float64 { return 5 * mb }}}
	culprit := writer()
	culprit.anon = 100 * mb
	w := newWorld(t, DefaultConfig(), victim, culprit, service())
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	require.NotEmpty(t, w.orders, w.story())
	for _, o := range w.orders {
		assert.Equal(t, uint64(10), o.Cgroup)
	}
}

func TestWhereNobodysWaitingIsKnownSlowRequestsStandForIt(t *testing.T) {
	for name, tt := range map[string]struct {
		queueless bool
		want      []arc.Action
	}{
		"requests take long":        {false, []arc.Action{arc.ActionIOWeight, arc.ActionIOMaxWrite}},
		"requests are served apace": {true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := writer()
			g.read = between(20*time.Second, 40*time.Second, 100*mb) // what it writes is page cache at first
			g.writes = between(20*time.Second, 40*time.Second, 900*mb)
			w := newWorld(t, DefaultConfig(), g, service())
			w.quietStalls, w.queueless = true, tt.queueless
			w.anomalous = after(20 * time.Second)
			w.run(150 * time.Second)
			assert.Equal(t, tt.want, w.actions(), w.story())
			assert.Empty(t, g.knobs, "given back once it is over: %s", w.story())
		})
	}
}

func TestWaitingForMemoryIsNoIOStorm(t *testing.T) {
	// Its pages are taken, and it reads them again and again.
	thrashed := &group{id: 10, path: "/thrashed.service", plant: plant{reads: from(20*time.Second, 900*mb)}}
	w := newWorld(t, DefaultConfig(), thrashed, service())
	w.stall = from(20*time.Second, 0.6)
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	assert.Empty(t, w.orders, w.story())
}

func TestWaitingThatNobodyCausesHasNoCulprit(t *testing.T) {
	victim := &group{id: 12, path: "/victim.service", plant: plant{reads: func(time.Duration) float64 { return mb }}}
	w := newWorld(t, DefaultConfig(), victim, service())
	w.anomalous = after(20 * time.Second)
	w.run(20 * time.Second)
	w.disk = mb / 2 // the disk itself fails
	w.run(60 * time.Second)
	assert.Empty(t, w.orders, w.story())
	assert.Len(t, w.declined(CauseNoCulprit), 2, "recorded, and again after half a minute: %s", w.story())
}
