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
