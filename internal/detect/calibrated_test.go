// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// simulated is how many seeds a simulation takes. All of them take minutes, so
// they run when REFLEX_SIMULATE is set (make test-simulation), else a few; one
// where time is short, as under the race detector, which looks for something else.
func simulated(t *testing.T, all, few int) uint64 {
	t.Helper()
	if testing.Short() {
		return 1
	}
	if os.Getenv("REFLEX_SIMULATE") != "" {
		return uint64(all)
	}
	return uint64(few)
}

// realised is the ratio of the mean interval between false episodes, counted over
// test after a calibration over history, to the interval configured.
func realised(seed uint64, n int, phi float64, t5 bool, rate float64, history, interval, test time.Duration) float64 {
	d := New(Config{Dimensions: freeDimensions(n), FalseAlarmInterval: interval, Lean: true})
	f := newFeed(d, newProcess(seed, n, phi, t5))
	f.period = int64(float64(time.Second) / rate)
	f.run(int(history.Seconds() * rate))
	f.episodes = 0
	f.run(int(test.Seconds() * rate))
	return test.Seconds() / interval.Seconds() / math.Max(float64(f.episodes), 0.5)
}

func TestFalseEpisodesComeAsOftenAsConfigured(t *testing.T) {
	const history = time.Hour // 36,000 decisions
	seeds := simulated(t, 30, 3)
	dims := []int{8, 20, 40}
	if seeds < 30 {
		dims = []int{8}
	}
	for _, n := range dims {
		for _, p := range []struct {
			name   string
			phi    float64
			t5     bool
			factor float64 // of the median
		}{
			{"iid Gaussian", 0, false, 2},
			{"AR(0.9)", 0.9, false, 2},
			{"AR(0.99)", 0.99, false, 2},
			{"iid t5", 0, true, 2},
			{"AR(0.9) t5", 0.9, true, 2},
			{"AR(0.99) t5", 0.99, true, 4},
		} {
			for _, c := range []struct {
				interval, test time.Duration
				spread         float64 // of 90 % of the seeds
			}{
				{history / 10, 2 * history, 3},
				{history, 10 * history, 6},
			} {
				t.Run(fmt.Sprintf("n=%d/%s/%v", n, p.name, c.interval), func(t *testing.T) {
					t.Parallel()
					ratios := make([]float64, seeds)
					for s := range ratios {
						ratios[s] = realised(uint64(s), n, p.phi, p.t5, 10, history, c.interval, c.test)
					}
					slices.Sort(ratios)
					median := ratios[len(ratios)/2]
					within := 0
					for _, r := range ratios {
						if r >= 1/c.spread && r <= c.spread {
							within++
						}
					}
					t.Logf("realised/configured: median %.2f, range %.2f to %.2f, %d of %d within %g",
						median, ratios[0], ratios[len(ratios)-1], within, len(ratios), c.spread)
					if seeds < 30 {
						assert.InDelta(t, 0, math.Log(median), math.Log(2*p.factor))
						return
					}
					assert.LessOrEqual(t, math.Abs(math.Log(median)), math.Log(p.factor), "median")
					assert.GreaterOrEqual(t, float64(within), 0.9*float64(len(ratios)), "seeds within a factor %g", c.spread)
				})
			}
		}
	}
}

func TestFalseEpisodesDoNotDependOnTheRateOfTheInput(t *testing.T) {
	seeds := int(simulated(t, 30, 4))
	const history, interval = time.Hour, 6 * time.Minute
	medians := map[float64]float64{}
	for _, rate := range []float64{1, 10, 100} {
		// The same process, seen so often: its coefficient is 0.9 over 100 ms.
		phi := math.Pow(0.9, 10/rate)
		ratios := make([]float64, seeds)
		for s := range ratios {
			ratios[s] = realised(uint64(s), 12, phi, false, rate, history, interval, 20*interval)
		}
		slices.Sort(ratios)
		medians[rate] = ratios[seeds/2]
		t.Logf("%g Hz: realised/configured median %.2f", rate, medians[rate])
	}
	least, most := math.Inf(1), 0.0
	for _, m := range medians {
		least, most = min(least, m), max(most, m)
	}
	factor := 1.5
	if seeds < 30 {
		factor = 3
	}
	assert.LessOrEqual(t, most/least, factor)
}

func TestALimitBeyondTheHistorySaysSoAndIsQuiet(t *testing.T) {
	seeds := simulated(t, 30, 10)
	for _, p := range []struct {
		phi float64
		t5  bool
	}{{0, false}, {0.9, false}, {0, true}, {0.9, true}} {
		episodes := 0
		for s := range seeds {
			d := New(Config{Dimensions: freeDimensions(12), FalseAlarmInterval: 7 * 24 * time.Hour, Lean: true})
			f := newFeed(d, newProcess(s, 12, p.phi, p.t5))
			f.run(36000)
			assert.True(t, f.j.Extrapolated)
			f.episodes = 0
			f.run(36000)
			episodes += f.episodes
		}
		// Seeds hours of calm at one episode a week.
		t.Logf("phi %v t5 %v: %d episodes in %d h", p.phi, p.t5, episodes, seeds)
		assert.LessOrEqual(t, episodes, 1)
	}
	near := New(Config{Dimensions: freeDimensions(12), FalseAlarmInterval: 6 * time.Minute, Lean: true})
	f := newFeed(near, newProcess(1, 12, 0, false))
	f.run(36000)
	assert.False(t, f.j.Extrapolated)
}
