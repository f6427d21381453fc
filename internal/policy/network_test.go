// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func isolating(most int) Config {
	cfg := DefaultConfig()
	cfg.MaxLevel = most
	return cfg
}

func TestIngressFloodIsShielded(t *testing.T) {
	w := newWorld(t, isolating(LevelIsolation), service())
	w.flood = between(20*time.Second, 60*time.Second, 400_000)
	w.anomalous = func(at time.Duration) bool { return at >= 20*time.Second && at < 60*time.Second }
	at := w.runUntil(30*time.Second, func(d *Decision) bool { return d.Level == LevelIsolation })
	assert.Less(t, at, 26*time.Second)
	assert.Equal(t, []int{1, 2, 3, 4}, w.levels, "one level at a time")
	for i := 2; i < 4; i++ {
		assert.GreaterOrEqual(t, w.changed[i]-w.changed[i-1], 90*time.Millisecond, "one a decision")
	}
	require.Len(t, w.orders, 1)
	o := w.orders[0]
	assert.Equal(t, arc.ActionShield, o.Action)
	assert.Zero(t, o.Cgroup)
	assert.Equal(t, uint32(3), o.Interface)
	assert.Greater(t, o.Parameter, uint64(2000), "above what everybody together usually sends")
	assert.Contains(t, w.of(LevelChanged)[3].Reason, "eth0 is flooded")
	w.run(120 * time.Second)
	assert.Equal(t, []int{1, 2, 3, 4, 3, 2, 1}, w.levels[:7], "released step by step: %s", w.story())
}

func TestFloodIsOnlyRecordedBelowLevel4(t *testing.T) {
	w := newWorld(t, DefaultConfig(), service())
	w.flood = from(20*time.Second, 400_000)
	w.anomalous = after(20 * time.Second)
	w.run(40 * time.Second)
	assert.Empty(t, w.orders)
	assert.Equal(t, LevelWatchful, w.policy.level)
	got := w.declined(CauseCapped)
	require.Len(t, got, 1, w.story())
	assert.Equal(t, arc.ActionShield, got[0].Action)
}

func TestFloodThroughNoKnownInterfaceIsRecorded(t *testing.T) {
	w := newWorld(t, isolating(LevelIsolation), service())
	w.linkless = true
	w.flood = from(20*time.Second, 400_000)
	w.anomalous = after(20 * time.Second)
	w.run(40 * time.Second)
	assert.Empty(t, w.orders)
	assert.Len(t, w.declined(CauseUninspectable), 1, w.story())
}

func TestEgressFloodIsThrottledAndQuarantinedOnlyWhenAsked(t *testing.T) {
	for most, want := range map[int][]arc.Action{
		LevelPressure:   nil,
		LevelIsolation:  {arc.ActionNetworkThrottle},
		LevelQuarantine: {arc.ActionNetworkThrottle},
	} {
		noisy := &group{id: 10, path: "/noisy.service", plant: plant{sends: from(20*time.Second, 500_000)}}
		w := newWorld(t, isolating(most), noisy, service())
		w.anomalous = after(20 * time.Second)
		w.run(60 * time.Second)
		assert.Equal(t, want, w.actions(), "at most level %d: %s", most, w.story())
	}
	noisy := &group{id: 10, path: "/noisy.service", plant: plant{sends: from(20*time.Second, 500_000)}}
	w := newWorld(t, isolating(LevelQuarantine), noisy, service())
	w.deaf = arc.ActionNetworkThrottle
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	assert.Equal(t, []arc.Action{arc.ActionNetworkThrottle, arc.ActionQuarantine}, w.actions(), w.story())
	assert.Equal(t, []int{1, 2, 3, 4, 5}, w.levels)
	turns := w.turns(arc.ActionNetworkThrottle)
	assert.Equal(t, uint64(leastThrottle), turns[len(turns)-1].value, "held as tight as can be before it is cut off")
	steps(t, turns, leastThrottle, 2*time.Second, DefaultConfig().ReleaseAfter)
	for _, o := range w.orders {
		if o.Action == arc.ActionQuarantine {
			assert.GreaterOrEqual(t, time.Duration(o.Scheduled-w.start)-turns[len(turns)-1].at, 2*time.Second, "and not before that could show")
			break
		}
	}
}

// flooder sends so many packets a second from 20 s on, which nobody answers.
func flooder(rate float64) *group {
	return &group{id: 10, path: "/noisy.service", plant: plant{sends: from(20*time.Second, rate)}}
}

func TestFloodThatOthersResendForIsThrottled(t *testing.T) {
	// 20,000 packets a second are neither dropped by an interface nor much work.
	lossless := newWorld(t, isolating(LevelIsolation), flooder(20_000), service())
	lossless.anomalous = after(20 * time.Second)
	lossless.run(40 * time.Second)
	assert.Empty(t, lossless.orders, lossless.story())

	// A narrow link sends no surge, however much it is given.
	w := newWorld(t, isolating(LevelIsolation), flooder(20_000), service())
	w.link = 4000
	w.anomalous = after(20 * time.Second)
	w.run(60 * time.Second)
	require.Equal(t, []arc.Action{arc.ActionNetworkThrottle}, w.actions(), w.story())
	o := w.orders[0]
	assert.Equal(t, uint64(10), o.Cgroup)
	assert.InDelta(t, 4000/2*100, float64(o.Parameter), 20_000, "half of what the link takes")
	assert.Len(t, w.turns(arc.ActionNetworkThrottle), 1, "which is enough")
	assert.Equal(t, LevelIsolation, w.policy.level)
}

func TestSegmentsSentAgainAreNoHarmBy(t *testing.T) {
	lossy := from(20*time.Second, 400)
	for name, tt := range map[string]struct {
		groups  []*group
		prepare func(*world)
	}{
		"nobody who sends a surge": {groups: []*group{service()}},
		"a stream that is answered": {groups: []*group{{id: 10, path: "/backup.service", plant: plant{
			sends: from(20*time.Second, 40_000), receives: from(20*time.Second, 1500),
		}}, service()}},
		"who sends within the node": {groups: []*group{{id: 10, path: "/proxy.service", plant: plant{loops: from(20*time.Second, 40_000)}}, service()}},
		"a node that always sends as much again": {
			groups: []*group{flooder(20_000), service()}, prepare: func(w *world) {
				w.resends = func(at time.Duration) float64 { return 500 + lossy(at) }
			},
		},
		"fewer than the budget": {
			groups: []*group{flooder(20_000), service()}, prepare: func(w *world) { w.resends = from(20*time.Second, 15) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, isolating(LevelQuarantine), tt.groups...)
			w.resends = lossy
			if tt.prepare != nil {
				tt.prepare(w)
			}
			w.anomalous = after(20 * time.Second)
			w.run(40 * time.Second)
			assert.Empty(t, w.orders, w.story())
		})
	}
	w := newWorld(t, isolating(LevelIsolation), flooder(20_000), service())
	w.resends = lossy
	w.anomalous = after(20 * time.Second)
	w.run(40 * time.Second)
	assert.Equal(t, []arc.Action{arc.ActionNetworkThrottle}, w.actions(), "but by who floods: %s", w.story())
}

func TestAThrottleUnderWhichOthersStillResendIsHalvedAgain(t *testing.T) {
	w := newWorld(t, isolating(LevelIsolation), flooder(20_000), service())
	// Somewhere else is a link that takes less than this node's.
	w.resends = func(at time.Duration) float64 {
		if v := w.groups[1].knob(arc.ActionNetworkThrottle); at < 20*time.Second || v < 300_000 {
			return 0
		}
		return 100
	}
	w.anomalous = after(20 * time.Second)
	w.run(50 * time.Second)
	turns := w.turns(arc.ActionNetworkThrottle)
	require.Len(t, turns, 2, w.story())
	assert.Equal(t, turns[0].value/2, turns[1].value)
	assert.GreaterOrEqual(t, turns[1].at-turns[0].at, 2*time.Second, "no faster than the effect shows")
	assert.Contains(t, w.of(Announced)[0].Outcome.Cause, "tightened")
	w.run(110 * time.Second)
	turns = w.turns(arc.ActionNetworkThrottle)
	require.GreaterOrEqual(t, len(turns), 3, "nobody sends again: %s", w.story())
	assert.Equal(t, turns[0].value, turns[2].value, "eased")
	steps(t, turns, leastThrottle, 2*time.Second, DefaultConfig().ReleaseAfter)
}

// victim is a server that needs a CPU for every 5,000 packets a second that it
// receives, and a little.
func victim(w **world) *group {
	g := &group{id: 10, path: "/server.service", plant: plant{tasks: 8}}
	g.receives = func(at time.Duration) float64 {
		if (*w).shield != 0 && (*w).shield < arc.Unlimited {
			return 1000
		}
		return 1000 + value((*w).flood, at)
	}
	g.cpu = func(at time.Duration) float64 { return 0.1 + g.receives(at)/5000 }
	return g
}

func TestVictimOfAFloodIsNotBlamedForTheCPU(t *testing.T) {
	// Too little for the interface to drop, or to be much work for it.
	flood := from(20*time.Second, 40_000)
	for name, tt := range map[string]struct {
		prepare func(*world)
		want    []arc.Action
	}{
		"a shield is put up instead":    {want: []arc.Action{arc.ActionShield}},
		"a shield is above what it may": {want: []arc.Action{arc.ActionCPUWeight}, prepare: func(w *world) { w.policy.cfg.MaxLevel = LevelContainment }},
		"the network is only observed":  {want: []arc.Action{arc.ActionCPUWeight}, prepare: func(w *world) { w.policy.cfg.Enforced = Resources(0).With(CPU) }},
		"the network is none of its":    {want: []arc.Action{arc.ActionCPUWeight}, prepare: func(w *world) { w.policy.cfg.Resources = Resources(0).With(CPU) }},
		"there is no shield to put up":  {want: []arc.Action{arc.ActionCPUWeight}, prepare: func(w *world) { w.linkless = true }},
		"the shield does not help it":   {want: []arc.Action{arc.ActionShield, arc.ActionCPUWeight}, prepare: func(w *world) { w.groups[1].cpu = from(20*time.Second, 8) }},
		"the shield lets too much pass": {want: []arc.Action{arc.ActionShield, arc.ActionCPUWeight}, prepare: func(w *world) {
			w.groups[1].receives = func(at time.Duration) float64 { return 1000 + value(flood, at) }
		}},
		"what it does is its own":         {want: []arc.Action{arc.ActionCPUWeight}, prepare: func(w *world) { w.groups[1].receives = nil; w.groups[1].cpu = from(20*time.Second, 8) }},
		"it answers what it is sent, too": {want: []arc.Action{arc.ActionShield}, prepare: func(w *world) { w.groups[1].sends = w.groups[1].receives }},
	} {
		t.Run(name, func(t *testing.T) {
			var w *world
			w = newWorld(t, isolating(LevelIsolation), victim(&w), service())
			w.flood = flood
			if tt.prepare != nil {
				tt.prepare(w)
			}
			w.anomalous = after(20 * time.Second)
			w.run(40 * time.Second)
			got := w.actions()
			require.GreaterOrEqual(t, len(got), len(tt.want), w.story())
			assert.Equal(t, tt.want, got[:len(tt.want)], w.story())
			if tt.want[0] == arc.ActionShield {
				require.NotEmpty(t, w.declined(CauseFlooded), w.story())
				assert.Contains(t, w.declined(CauseFlooded)[0].Reason, "/server.service uses")
			}
			if len(tt.want) == 2 {
				at := w.orders[slices.IndexFunc(w.orders, func(o arc.Order) bool { return o.Action == arc.ActionCPUWeight })].Scheduled - w.start
				assert.Less(t, time.Duration(at), 20*time.Second+time.Duration(shieldWithin), "as soon as that shows: %s", w.story())
			}
			if len(tt.want) == 1 && tt.want[0] == arc.ActionShield {
				assert.Len(t, got, 1, "and nothing else is done: %s", w.story())
			}
		})
	}
}

func TestServerThatAnswersAFloodIsNoCulprit(t *testing.T) {
	server := &group{id: 10, path: "/server.service"}
	w := newWorld(t, isolating(LevelQuarantine), server, service())
	server.sends = func(at time.Duration) float64 {
		if w.shield != 0 || at < 20*time.Second {
			return 2000
		}
		return 400_000
	}
	w.flood = from(20*time.Second, 400_000)
	w.anomalous = after(20 * time.Second)
	w.run(40 * time.Second)
	assert.Equal(t, []arc.Action{arc.ActionShield}, w.actions(), w.story())
}
