// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestLessonsComeBackInOrderAndLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pending
		p.prepare(rapid.SampledFrom([]int64{1e7, 1e8, 1e9, 1e10}).Draw(t, "period"), 1)
		wait := len(p.ring)
		require.GreaterOrEqual(t, wait, fewestPending)
		require.LessOrEqual(t, wait, mostPending)
		next, due := 0.0, 0.0
		for range rapid.IntRange(1, 300).Draw(t, "decisions") {
			effective := rapid.Float64Range(0, 1e3).Draw(t, "effective")
			for l := p.due(effective); l != nil; l = p.due(effective) {
				require.Equal(t, due, l.x[0], "oldest first, none lost")
				due++
			}
			require.LessOrEqual(t, next-due, min(float64(wait), patience*effective), "no longer than allowed")
			p.place().x[0] = next
			p.placed()
			next++
			require.Equal(t, int(next-due), p.count)
		}
		p.clear()
		require.Nil(t, p.due(0))
	})
}

func TestHesitationIsTenSecondsOfDecisions(t *testing.T) {
	var p pending
	p.prepare(int64(time.Second), 3)
	assert.Len(t, p.ring, 10)
	p.placed()
	p.prepare(int64(time.Second)+7, 3) // the input jitters
	assert.Equal(t, 1, p.count)
	p.prepare(int64(time.Minute), 3)
	assert.Len(t, p.ring, fewestPending)
	assert.Zero(t, p.count)
}

// A leak that takes its time to reach its rate is below the limit at first. The
// younger the baseline, the faster it would learn to live with it.
func TestAFailureThatBeginsSlowlyIsNotLearned(t *testing.T) {
	for _, c := range []struct {
		config Config
		calm   int           // seconds
		ramp   time.Duration // to 50 MB/s
		within time.Duration // 10 of 12
	}{
		{Config{Warmup: 12 * time.Second, FalseAlarmInterval: 10 * time.Minute}, 13, time.Second, time.Second},
		{Config{Warmup: 12 * time.Second, FalseAlarmInterval: 10 * time.Minute}, 13, 5 * time.Second, 2 * time.Second},
		{Config{}, 35, time.Second, 3 * time.Second},
		{Config{}, 35, 5 * time.Second, 5 * time.Second},
		{Config{}, 90, 5 * time.Second, 5 * time.Second},
	} {
		var delays []time.Duration
		for seed := range uint64(12) {
			m, e := newMachine(seed+1000), NewEngine(c.config)
			j := calm(m, e, 10*c.calm, arc.Control{})
			require.True(t, j.Ready)
			require.False(t, j.Anomalous)
			limit := j.Limit
			delay := time.Hour
			for k := 1; k <= 150 && delay == time.Hour; k++ {
				elapsed := time.Duration(k) * 100 * time.Millisecond
				m.leak = 50e6 * min(1, elapsed.Seconds()/c.ramp.Seconds())
				m.run(e, arc.Control{}, &j)
				if j.Anomalous {
					delay = elapsed
				}
			}
			assert.Less(t, j.Limit, 3*limit, "the limit is carried along, seed %d", seed)
			delays = append(delays, delay)
		}
		slices.Sort(delays)
		t.Logf("calm for %d s, ramp of %v: median %v, slowest %v", c.calm, c.ramp, delays[6], delays[11])
		assert.LessOrEqual(t, delays[9], c.within, "calm for %d s, ramp of %v", c.calm, c.ramp)
		assert.Less(t, delays[11], time.Hour, "missed")
	}
}

func TestWhatLedUpToAnAlarmIsDropped(t *testing.T) {
	d := New(Config{Dimensions: freeDimensions(4), Lean: true, FalseAlarmInterval: 10 * time.Minute})
	f := newFeed(d, newProcess(3, 4, 0, false))
	f.run(3000)
	require.Len(t, d.pending.ring, mostPending)
	require.Equal(t, mostPending, d.pending.count)
	learned := d.decisions

	f.control.LeaseHeld = true
	f.run(1)
	assert.Zero(t, d.pending.count, "the policy says that something is wrong")
	f.control.LeaseHeld = false
	f.run(mostPending)
	assert.Equal(t, learned, d.decisions)

	f.change = func(x []float64) { x[0] += 50 }
	require.Equal(t, 1, f.run(1))
	f.change = nil
	f.run(10)
	require.False(t, d.alarm.on)
	assert.Equal(t, mostPending, d.pending.count+d.decisions-learned-9, "a spike costs nothing but itself")

	f.change = func(x []float64) { x[0] += 50 }
	f.run(400)
	require.True(t, d.alarm.on)
	assert.Equal(t, mostPending, d.pending.count, "until it has proved to be one")
	f.change = nil
	for d.alarm.on {
		f.run(1)
	}
	assert.LessOrEqual(t, d.pending.count, 1)
}

func TestWhatWasPendingIsDroppedWithAPlateau(t *testing.T) {
	f := settledFeed(1, Config{})
	f.change = plateauChange()
	for f.accepted == 0 {
		f.run(1)
		require.Less(t, f.now, int64(2e18))
	}
	assert.Zero(t, f.d.pending.count, "it is of the level before")
}

func TestALessonServesBaselinesThatPartLater(t *testing.T) {
	d := New(Config{Dimensions: freeDimensions(4), Lean: true})
	newFeed(d, newProcess(1, 4, 0, false)).run(1000)
	require.False(t, d.apart)
	require.Positive(t, d.pending.count)
	for i := range d.pending.count {
		l := &d.pending.ring[i]
		assert.Positive(t, l.slow)
		assert.InDelta(t, l.fast, l.slow, 0)
		assert.Equal(t, l.charts[0], l.charts[1])
		assert.Positive(t, l.charts[1][sudden])
	}
}

func TestScalesReconsiderWheneverTheBeginningIsEstimatedAgain(t *testing.T) {
	d := New(Config{Dimensions: freeDimensions(4), Lean: true, Warmup: 12 * time.Second})
	f := newFeed(d, newProcess(1, 4, 0, false))
	estimates, times := 0, 0
	for range 140 {
		f.run(1)
		if d.fast.base.estimates > estimates {
			estimates = d.fast.base.estimates
			times++
			assert.Zero(t, d.fast.charts.scale[sudden].since, "estimate %d", estimates)
		}
	}
	assert.Nil(t, d.fast.base.primer, "the last is when judging begins")
	assert.GreaterOrEqual(t, times, 3)
	f.run(120)
	assert.Positive(t, d.fast.charts.scale[sudden].since)
}
