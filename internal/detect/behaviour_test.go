// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The times are those that docs/detection.md states: medians and the slowest of
// the seeds, with a limit of one false episode a day and an hour of history.
func TestWhatChangesIsDetectedInTime(t *testing.T) {
	for _, c := range []struct {
		name         string
		change       func(k int, p *process) func(x []float64)
		median, most int // decisions
	}{
		{
			"a step of 3 σ in one dimension of twelve", func(int, *process) func([]float64) {
				return func(x []float64) { x[3] += 3 }
			}, 12, 40,
		},
		{
			"a step of 3 σ in half of them", func(int, *process) func([]float64) {
				return func(x []float64) {
					for j := 0; j < len(x); j += 2 {
						x[j] += 3
					}
				}
			}, 3, 6,
		},
		{
			"a ramp of 1 σ a minute", func(int, *process) func([]float64) {
				k := 0
				return func(x []float64) {
					k++
					x[3] += float64(k) / 600
				}
			}, 1300, 2400,
		},
		{
			"twice the standard deviation", func(int, *process) func([]float64) {
				return func(x []float64) {
					for j := range x {
						x[j] *= 2
					}
				}
			}, 6, 20,
		},
		{
			"correlations broken, margins unchanged", func(_ int, p *process) func([]float64) {
				return func([]float64) { p.shared = 0 }
			}, 300, 900,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			delays := make([]int, 15)
			for s := range delays {
				d := New(Config{Dimensions: freeDimensions(12), FalseAlarmInterval: 24 * time.Hour, Lean: true})
				p := newProcess(uint64(s), 12, 0, false)
				p.shared = 0.9
				f := newFeed(d, p)
				f.run(36000)
				f.change = c.change(s, p)
				delays[s] = f.run(6000)
				if delays[s] == 0 {
					delays[s] = math.MaxInt32
				}
			}
			slices.Sort(delays)
			t.Logf("decisions to the alarm: median %d, slowest %d", delays[7], delays[14])
			assert.LessOrEqual(t, delays[7], c.median)
			assert.LessOrEqual(t, delays[14], c.most)
		})
	}
}

func settledFeed(seed uint64, config Config) *feed {
	config.Dimensions = freeDimensions(8)
	if config.FalseAlarmInterval == 0 {
		config.FalseAlarmInterval = 24 * time.Hour
	}
	f := newFeed(New(config), newProcess(seed, 8, 0.5, false))
	f.run(12000)
	return f
}

func TestAHarmlessPlateauIsAcceptedAndReported(t *testing.T) {
	for seed := range uint64(5) {
		f := settledFeed(seed, Config{})
		f.change = plateauChange()
		require.Positive(t, f.run(20))
		assert.Zero(t, f.accepted)
		f.run(5900)
		assert.Zero(t, f.accepted, "not before ten minutes")
		f.run(4000)
		assert.Equal(t, 1, f.accepted, "a new plateau is reported once")
		var r Report
		f.d.Report(&r)
		assert.Equal(t, 1, r.Plateaus)
		f.run(600)
		assert.False(t, f.j.Anomalous)
		assert.True(t, f.j.Ready, "never blind meanwhile")
		f.change = nil
		f.episodes = 0
		f.run(600)
		assert.Zero(t, f.episodes, "the old plateau is still known")
	}
}

func TestAFailureThatLastsIsNeverLearned(t *testing.T) {
	for name, c := range map[string]struct {
		config  Config
		control arc.Control
		change  func() func(x []float64)
	}{
		"a leak": {change: func() func([]float64) {
			grown := 0.0
			return func(x []float64) { grown += 0.01; x[2] += grown }
		}},
		"a plateau with harm":           {control: arc.Control{Harm: true}, change: plateauChange},
		"a plateau under a lease":       {control: arc.Control{LeaseHeld: true}, change: plateauChange},
		"a plateau when told never":     {config: Config{RelearnAfter: -1}, change: plateauChange},
		"a plateau frozen from outside": {control: arc.Control{FrozenUntil: arc.Forever}, change: plateauChange},
		"an oscillation between two states": {change: func() func([]float64) {
			k := 0
			return func(x []float64) {
				if k++; k/450%2 == 0 {
					for j := range x {
						x[j] += 9
					}
				}
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := settledFeed(3, c.config)
			f.change, f.control = c.change(), c.control
			require.Positive(t, f.run(2000))
			mean := slices.Clone(f.d.fast.base.mean)
			f.run(36000)
			assert.Zero(t, f.accepted)
			for j, m := range f.d.fast.base.mean {
				assert.InDelta(t, mean[j], m, 0.5, "dimension %d is as it was", j)
			}
			f.change, f.control = nil, arc.Control{}
			f.run(600)
			f.episodes = 0
			f.run(3000)
			assert.LessOrEqual(t, f.episodes, 1, "calm is still calm")
		})
	}
}

func plateauChange() func([]float64) {
	return func(x []float64) {
		for j := range x[:4] {
			x[j] += 6
		}
	}
}

func TestAnomalousMeansBeyondTheLimit(t *testing.T) {
	f := newFeed(New(Config{Dimensions: freeDimensions(6), HalfLife: 10 * time.Minute, FalseAlarmInterval: time.Minute}), newProcess(1, 6, 0.8, true))
	anomalous := 0
	for range 40000 {
		f.run(1)
		if !f.j.Ready {
			continue
		}
		require.Equal(t, f.j.Score > f.j.Limit, f.j.Anomalous, "%+v", f.j)
		if f.j.Anomalous {
			anomalous++
		}
	}
	assert.Greater(t, anomalous, 100)
}

func TestAClockThatIsSetBackStopsNothing(t *testing.T) {
	f := settledFeed(1, Config{})
	f.change = plateauChange()
	require.Positive(t, f.run(50))
	f.now -= int64(365 * 24 * time.Hour)
	f.change = nil
	f.run(400)
	assert.False(t, f.j.Anomalous)
	assert.False(t, f.j.Frozen)
	assert.True(t, f.j.Ready)
}

func TestJitterOfTheInputDoesNotDisturbTheCalibration(t *testing.T) {
	d := New(Config{Dimensions: freeDimensions(4), Lean: true})
	p := newProcess(1, 4, 0, false)
	var j arc.Judgement
	now := int64(0)
	for range 3000 {
		now += int64(time.Second) + p.rng.Int64N(int64(40*time.Millisecond))
		d.Step(Instant{Due: now, Taken: now}, p.next(), arc.Control{}, &j)
	}
	var r Report
	d.Report(&r)
	assert.Greater(t, r.History, 40*time.Minute)
}
