// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

var trendKinds = map[string]TrendKind{"Kalman": Kalman, "EWMA": EWMA}

func TestTrendOfARampIsItsSlope(t *testing.T) {
	for name, kind := range trendKinds {
		for _, dt := range []float64{1, 0.1, 0.01} {
			rng := rand.New(rand.NewPCG(1, 2))
			tr := NewTrend(kind, 20, 0.05)
			var velocity, n float64
			for k := range int(40 / dt) {
				at := float64(k) * dt
				tr.Update(2+3*at+0.1*rng.NormFloat64(), dt)
				if at > 20 {
					velocity += tr.Velocity()
					n++
				}
			}
			assert.InDelta(t, 122, tr.Value(), 4, "%s, dt %v", name, dt)
			assert.InDelta(t, 3, velocity/n, 0.2, "%s, dt %v", name, dt)
		}
	}
}

func TestTrendOfAParabolaIsItsCurvature(t *testing.T) {
	for name, kind := range trendKinds {
		tr := NewTrend(kind, 20, 0.05)
		for k := range 200 {
			s := float64(k) * 0.1
			tr.Update(2*s*s, 0.1)
		}
		assert.InDelta(t, 4, tr.Acceleration(), 0.2, name)
		assert.InDelta(t, 4*19.9, tr.Velocity(), 4, name)
		if kind == Kalman { // which models it
			assert.InDelta(t, 2*19.9*19.9, tr.Value(), 0.01)
			assert.InDelta(t, 4*19.9, tr.Velocity(), 0.1)
		}
	}
}

func TestTrendDoesNotDependOnTheRate(t *testing.T) {
	for name, kind := range trendKinds {
		at := func(dt float64) Trend {
			tr := NewTrend(kind, 20, 0.05)
			for s := dt; s < 10+dt/2; s += dt {
				tr.Update(math.Sin(s), dt)
			}
			return tr
		}
		slow, fast := at(0.1), at(0.01)
		assert.InDelta(t, slow.Value(), fast.Value(), 0.1, name)
		assert.InDelta(t, slow.Velocity(), fast.Velocity(), 0.15, name)
		assert.InDelta(t, slow.Acceleration(), fast.Acceleration(), 0.3, name)
		if kind == Kalman {
			assert.InEpsilon(t, slow.p[0], fast.p[0], 0.3, "it knows as much")
		}
	}
}

func TestTrendIgnoresWhatIsNoMeasurement(t *testing.T) {
	for name, kind := range trendKinds {
		tr := NewTrend(kind, 20, 0.05)
		for k := range 100 {
			tr.Update(float64(k), 0.1)
		}
		want := tr
		tr.Update(math.NaN(), 0.1)
		tr.Update(math.Inf(1), 0.1)
		tr.Update(5, 0)
		tr.Update(5, -1)
		tr.Update(5, math.NaN())
		assert.Equal(t, want, tr, name)
		tr.Update(7, 61)
		assert.InDelta(t, 7, tr.Value(), 0, "%s: after a long pause it begins again", name)
		assert.Zero(t, tr.Velocity(), name)
		tr.Update(1e6, 1e-9)
		tr.Update(0, 1e-9)
		tr.Update(1e6, 1e-9)
		for _, v := range []float64{tr.Value(), tr.Velocity(), tr.Acceleration()} {
			assert.False(t, math.IsNaN(v) || math.Abs(v) > 1e15, "%s: %v", name, v)
		}
		tr.Reset()
		assert.Zero(t, tr.Value(), name)
	}
}

func TestTrendFollowsAChangeAfterALongRest(t *testing.T) {
	for name, kind := range trendKinds {
		tr := NewTrend(kind, 20, 0.05)
		for range 6000 {
			tr.Update(0, 0.1)
		}
		assert.InDelta(t, 0, tr.Velocity(), 1e-9, name)
		for k := range 30 {
			s := float64(k) * 0.1
			tr.Update(2*s*s, 0.1)
		}
		assert.InDelta(t, 4, tr.Acceleration(), 1, name)
		assert.InDelta(t, 12, tr.Velocity(), 4, name) // an EWMA lags by its time constant
	}
}
