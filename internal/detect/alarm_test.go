// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// alarmed steps an alarm every 100 ms.
type alarmed struct {
	alarm
	now int64
}

func (a *alarmed) decide(anomalous bool, c arc.Control) outcome {
	a.now += 100 * ms
	return a.step(a.now, 100*ms, anomalous, 7, c, 5000*ms, 10)
}

func TestCoolOffIsBounded(t *testing.T) {
	var a alarmed
	a.decide(true, arc.Control{})
	require.True(t, a.on)
	assert.Equal(t, alarmNone, a.decide(false, arc.Control{}))
	assert.Equal(t, alarmPassed, a.decide(false, arc.Control{}), "one decision of alarm cools off for as long")
	assert.False(t, a.on)
	for range 200 {
		a.decide(true, arc.Control{})
	}
	for range 50 {
		assert.Equal(t, alarmNone, a.decide(false, arc.Control{}))
		assert.True(t, a.on)
	}
	assert.Equal(t, alarmEnded, a.decide(false, arc.Control{}), "a long alarm is no healthy spike")
	assert.False(t, a.on)
}

func TestAnAlarmThatWasControlledDoesNotPass(t *testing.T) {
	for name, c := range map[string]arc.Control{"harm": {Harm: true, Harmed: true}, "lease": {LeaseHeld: true}, "frozen": {FrozenUntil: arc.Forever}} {
		var a alarmed
		a.decide(true, arc.Control{})
		a.decide(true, c)
		assert.Zero(t, a.elapsed, "patience starts again when control ends")
		end := alarmNone
		for range 5 {
			if o := a.decide(false, arc.Control{}); o != alarmNone {
				end = o
			}
		}
		assert.Equal(t, alarmEnded, end, name)
	}
}

// An episode fears the worst, and forbids to learn, for as long as it is open.
func TestAnAlarmInWhichNothingCameOfWhatWasFearedPasses(t *testing.T) {
	for _, harmed := range []bool{false, true} {
		var a alarmed
		c := arc.Control{Watchful: true, Harm: true, Harmed: harmed, FrozenUntil: arc.Forever}
		a.decide(true, c)
		a.decide(true, c)
		assert.Equal(t, alarmNone, a.decide(false, c))
		assert.Equal(t, alarmNone, a.decide(false, c))
		if end := a.decide(false, c); harmed {
			assert.Equal(t, alarmEnded, end)
		} else {
			assert.Equal(t, alarmPassed, end)
		}
	}
}

func TestAClockSetBackDoesNotProlongAnAlarm(t *testing.T) {
	var a alarmed
	a.now = 1e15
	a.decide(true, arc.Control{})
	a.now = 0
	for range 5 {
		a.decide(false, arc.Control{})
	}
	assert.False(t, a.on)
}

func TestAPassingSpikeRaisesTheLimit(t *testing.T) {
	for seed := range uint64(3) {
		f := settledFeed(seed, Config{Lean: true})
		spike := func(x []float64) {
			for j := range x {
				x[j] += 7 * float64(1-j%2*2)
			}
		}
		var excess []float64
		limit := f.d.limit
		for range 8 {
			f.change = spike
			f.run(1)
			excess = append(excess, f.d.fast.rarity-f.d.limit)
			f.change = nil
			f.run(600)
		}
		assert.Positive(t, excess[0], "the first is news")
		assert.Less(t, excess[7], 0.5*excess[0], "%v", excess)
		assert.Greater(t, f.d.limit, limit+3, "healthy after all")
		t.Logf("rarity beyond the limit: %.1f", excess)
	}
}
