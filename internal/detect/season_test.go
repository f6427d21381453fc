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

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// monday is midnight of a Monday.
var monday = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).UnixNano()

// calendar feeds a detector one decision a minute of a load that has a pattern.
type calendar struct {
	d      *Detector
	rng    *rand.Rand
	load   func(hours float64) float64 // since monday, in σ of the noise
	minute int64
	back   int64 // ns that the wall clock is slow
	j      arc.Judgement
}

func newCalendar(seed uint64, load func(hours float64) float64) *calendar {
	d := New(Config{Dimensions: freeDimensions(4), FalseAlarmInterval: 24 * time.Hour})
	return &calendar{d: d, rng: rand.New(rand.NewPCG(seed, 1)), load: load}
}

func (c *calendar) run(hours int) int { return c.runMinutes(60 * hours) }

// runMinutes returns how many decisions were anomalous.
func (c *calendar) runMinutes(minutes int) (anomalous int) {
	x := make([]float64, 4)
	for range minutes {
		c.minute++
		for j := range x {
			x[j] = 20 + c.load(float64(c.minute)/60) + c.rng.NormFloat64()
		}
		at := c.minute * int64(time.Minute)
		c.d.Step(Instant{Due: at, Taken: at, Interval: int64(time.Minute), Wall: monday + at - c.back}, x, arc.Control{}, &c.j)
		anomalous += count(c.j.Anomalous)
	}
	return anomalous
}

func (c *calendar) season() time.Duration {
	var r Report
	c.d.Report(&r)
	return r.Season
}

// daily is least at midnight and greatest at noon.
func daily(hours float64) float64 { return -3 * math.Cos(2*math.Pi*hours/24) }

func TestADailyPatternIsFound(t *testing.T) {
	for seed := range uint64(5) {
		c := newCalendar(seed, daily)
		c.run(2 * 24)
		assert.Zero(t, c.season(), "two days are too few")
		c.run(3 * 24)
		assert.Equal(t, 24*time.Hour, c.season())
		assert.True(t, c.d.season.active)
		assert.Positive(t, c.d.pending.oldest().charts[2][sudden], "its charts are learned as well")
		assert.Greater(t, c.d.season.autocorrelation(dayHours), 0.8)
	}
}

func TestNoiseHasNoSeason(t *testing.T) {
	for seed := range uint64(5) {
		c := newCalendar(seed, func(float64) float64 { return 0 })
		for range 8 {
			c.run(24)
			assert.Zero(t, c.season())
		}
	}
}

// taught feeds the season of a settled detector hours of load directly.
func taught(t *testing.T, hours int, load func(hours float64) float64, skip func(hour int) bool) *season {
	t.Helper()
	c := newCalendar(1, func(float64) float64 { return 0 })
	c.run(24)
	s := c.d.season
	s.hours, s.hour, s.count = 0, 0, 0
	clear(s.sum)
	x := make([]float64, 4)
	for k := range hours * 4 {
		if skip != nil && skip(k/4) {
			continue
		}
		for j := range x {
			x[j] = 20 + load(float64(k)/4) + c.rng.NormFloat64()
		}
		s.learn(x, monday+int64(k)*int64(15*time.Minute))
	}
	return s
}

func weekend(hours float64) float64 {
	if int(hours/24)%7 >= 5 {
		return -6
	}
	return daily(hours)
}

func TestAWeekendMakesAWeek(t *testing.T) {
	assert.Equal(t, weekHours, taught(t, 21*24, weekend, nil).length)
	assert.Equal(t, dayHours, taught(t, 21*24, daily, nil).length, "a day needs no week")
	assert.NotEqual(t, weekHours, taught(t, 14*24, weekend, nil).length, "two weeks are too few")
}

func TestHoursThatWereNotLearnedLeaveGaps(t *testing.T) {
	s := taught(t, 6*24, daily, func(hour int) bool { return hour%24 >= 13 && hour%24 < 18 || hour == 50 })
	assert.Equal(t, dayHours, s.length)
	assert.Equal(t, 6*24-1, s.hours, "the last is open")
	gaps := 0
	for _, v := range s.load[:s.hours] {
		gaps += count(v != v)
	}
	assert.Equal(t, 6*5+1, gaps)
}

func TestAClockSetBackBeginsTheLoadAnew(t *testing.T) {
	c := newCalendar(2, daily)
	c.run(4 * 24)
	require.Equal(t, 24*time.Hour, c.season())
	c.back = int64(30 * time.Hour)
	c.run(3)
	assert.Zero(t, c.season())
	assert.Less(t, c.d.season.hours, 5)
	c.back += int64(1000 * 24 * time.Hour)
	c.run(2)
	c.back = 0
	c.run(2)
	assert.Less(t, c.d.season.hours, 5, "nor is a leap forward a gap of years")
	c.run(4 * 24)
	assert.Equal(t, 24*time.Hour, c.season())
	c.back = 1 << 62
	c.run(2)
	assert.False(t, c.d.season.active, "before 1970 there is no time of the week")
}

// The season is taught the peak, because what has always been anomalous is not
// learned.
func TestWhatIsUsualAtThisTimeIsNotAnomalous(t *testing.T) {
	require.Zero(t, monday/hourLength%24, "slots count from midnight")
	const evening, night, peak = 19, 2, 30 // for three hours from then
	// seen counts regimes and anomalies in the four hours around a peak at from.
	seen := func(from int) (regimes map[int8]int, anomalous int) {
		c := newCalendar(3, daily)
		c.run(5*24 + 12)
		require.Equal(t, 24*time.Hour, c.season())
		s := c.d.season
		for slot := range weekHours {
			if hour := slot % 24; hour >= evening && hour < evening+3 {
				for j := range 4 {
					s.mean[slot*4+j] += peak
				}
			}
		}
		s.anchor = math.MinInt64
		c.run((from + 12) % 24)
		c.load = func(hours float64) float64 { // as means of hours interpolate
			h := math.Mod(hours, 24) - float64(from)
			return daily(hours) + peak*max(0, min(1, h+0.5, 3.5-h))
		}
		regimes = map[int8]int{}
		for range 240 {
			anomalous += c.runMinutes(1)
			regimes[c.j.Regime]++
		}
		return regimes, anomalous
	}
	regimes, anomalous := seen(evening)
	// Its edges still alarm: hours are interpolated, and the season must be
	// plainer than the other opinions to be believed.
	assert.LessOrEqual(t, anomalous, 150)
	assert.Greater(t, regimes[RegimeSeason], 80, "%v", regimes)
	regimes, anomalous = seen(night)
	assert.Greater(t, anomalous, 200, "the same at night is")
	assert.Zero(t, regimes[RegimeSeason], "%v", regimes)
}
