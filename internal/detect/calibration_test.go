// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const week = 7 * 24 * time.Hour

func newCalibration(memory time.Duration) *calibration {
	k := &calibration{}
	k.reset()
	k.prepare(100*ms, memory)
	return k
}

// tail draws rarities: 5 % beyond 0, as generalised Pareto of that shape.
func tail(rng *rand.Rand, shape float64) float64 {
	p := rng.Float64() / (1 - body)
	if shape == 0 {
		return -math.Log(p)
	}
	return (math.Pow(p, -shape) - 1) / shape
}

// Block maxima of healthy scores look bounded to a fit of a few hundred, and the
// prior of the shape agrees, so that heavy tails are underestimated at the end of
// the history by as much as their tolerance says.
func TestReturnLevelsOfKnownTails(t *testing.T) {
	const history, seeds = 10 * time.Hour, 10
	for _, c := range []struct {
		name      string
		shape     float64
		near, far float64 // tolerance at a tenth of the history, and at all of it
	}{
		{"exponential", 0, 0.06, 0.12},
		{"generalised Pareto, heavy", 0.1, 0.15, 0.25},
		{"generalised Pareto, bounded", -0.2, 0.2, 0.25},
	} {
		t.Run(c.name, func(t *testing.T) {
			var near, far float64
			for seed := range uint64(seeds) {
				k, rng := newCalibration(week), rand.New(rand.NewPCG(seed, 6))
				for range int(history / (100 * time.Millisecond)) {
					k.observe(tail(rng, c.shape))
				}
				u, extrapolated := k.limit(history / 10)
				require.False(t, extrapolated)
				near += u / seeds
				u, extrapolated = k.limit(history)
				require.False(t, extrapolated)
				far += u / seeds
				beyond, extrapolated := k.limit(100 * history)
				require.True(t, extrapolated)
				require.Greater(t, beyond, u)
			}
			level := func(interval time.Duration) float64 {
				p := (1 - body) * interval.Seconds() * 10
				if c.shape == 0 {
					return math.Log(p)
				}
				return (math.Pow(p, c.shape) - 1) / c.shape
			}
			t.Logf("want %.2f, %.2f; got %.2f, %.2f", level(history/10), level(history), near, far)
			assert.InEpsilon(t, level(history/10), near, c.near)
			assert.InEpsilon(t, level(history), far, c.far)
		})
	}
}

func TestOneExcursionIsOneMaximum(t *testing.T) {
	k := newCalibration(week)
	for _, peaks := range [][]float64{{6, 7, 6.5}, {7, 6}, {6, 6}} {
		k.reset()
		k.merging = 5
		greatest := 0.0
		for _, p := range peaks {
			k.observePeak(p)
			greatest = max(greatest, p)
		}
		k.observePeak(1)
		k.merging = 5 // had it been fitted meanwhile
		assert.InDelta(t, 1, float64(k.count[bin(greatest)]), 1, "%v", peaks)
		sum := 0.0
		for i := bin(5); i < bins; i++ {
			sum += float64(count(k.count[i] > 0))
		}
		assert.InDelta(t, 1, sum, 0, "%v: one bin", peaks)
		first := k.count[bin(greatest)]
		k.observePeak(greatest)
		assert.Greater(t, k.count[bin(greatest)], first, "after a pause it is another")
	}
}

func TestTheLimitForgets(t *testing.T) {
	k, rng := newCalibration(time.Hour), rand.New(rand.NewPCG(2, 2)) // half-life 2,048 blocks
	level := func(blocks int, shift float64) float64 {
		for range blocks {
			k.observePeak(shift + rng.ExpFloat64())
		}
		u, _ := k.limit(24 * time.Hour)
		return u
	}
	low := level(8000, 2)
	high := level(4000, 6)
	assert.InDelta(t, low+4, high, 2, "up within two half-lives")
	assert.Less(t, level(16000, 2), low+1, "down in time")
}

func TestAnotherRateOfDecisionsKeepsWhatIsKnown(t *testing.T) {
	k, rng := newCalibration(week), rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		k.observePeak(3 + rng.ExpFloat64())
	}
	k.observe(50)
	want, _ := k.limit(24 * time.Hour)
	total := k.total
	k.prepare(1000*ms, week)
	got, _ := k.limit(24 * time.Hour)
	assert.InDelta(t, want, got, 0.1, "maxima of thirty seconds stay what they were")
	assert.Equal(t, 30, k.length)
	assert.Zero(t, k.n, "the open block is dropped")
	assert.InDelta(t, total, k.total, 0)
	k.prepare(60000*ms, week)
	assert.InDelta(t, 300, k.seconds, 0)
	longer, _ := k.limit(24 * time.Hour)
	assert.Less(t, longer, got, "fewer blocks in a day")

	decay := k.decay
	k.prepare(60000*ms, 2*week)
	assert.Greater(t, k.decay, decay, "another memory alone counts too")
}

func TestTheLimitIsMonotoneAndNeverTooLow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := newCalibration(week)
		shift := rapid.Float64Range(-4, 30).Draw(t, "shift")
		for _, u := range rapid.SliceOfN(rapid.Float64Range(0, 10), 0, 200).Draw(t, "peaks") {
			k.observePeak(u + shift)
		}
		last := 0.0
		for _, interval := range []time.Duration{time.Second, time.Minute, time.Hour, 24 * time.Hour, week, 52 * week, longest} {
			u, extrapolated := k.limit(interval)
			require.GreaterOrEqual(t, u, float64(leastLimit))
			require.GreaterOrEqual(t, u, last-1e-9)
			require.Equal(t, interval.Seconds()/k.seconds > max(k.history(), 1), extrapolated)
			last = u
		}
		require.Less(t, last, 1.1e4)
	})
	k := newCalibration(week)
	for range 1000 {
		k.observePeak(-3)
	}
	u, _ := k.limit(time.Minute)
	assert.InDelta(t, leastLimit, u, 0)
}

func TestBinsInvert(t *testing.T) {
	for i := range bins {
		if i > 0 {
			assert.Greater(t, value(i), value(i-1))
		}
		if i < bins-1 {
			assert.Equal(t, i, bin(value(i)-1e-6*(1+math.Abs(value(i)))))
			assert.Equal(t, i+1, bin(value(i)+1e-6*(1+math.Abs(value(i)))))
		}
	}
	assert.Equal(t, 0, bin(-1e9))
	assert.Equal(t, bins-1, bin(1e300))
	assert.Equal(t, 0, bin(math.Inf(-1)))
}
