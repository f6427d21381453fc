// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAMissingDimensionIsLeftOut(t *testing.T) {
	b, draw := learned(gauges(3, 0.1), 5, 1e-3, 5000)
	x := []float64{5, 20, 40}
	whole := b.Score(x)
	x[1] = math.NaN()
	part := b.Score(x)
	assert.Equal(t, 2, b.Present())
	assert.Less(t, part, whole)
	// The marginal score of one dimension is its squared standardised deviation,
	// less what is not known of it.
	x[2] = math.NaN()
	assert.InEpsilon(t, math.Pow((5-b.Mean(0))/b.Deviation(0), 2), b.Score(x), 0.01)
	x[0] = math.NaN()
	assert.Zero(t, b.Score(x))

	deviation, mean := b.Deviation(1), b.Mean(1)
	for range 2000 {
		x := draw()
		x[1] = math.NaN()
		take(b, x)
	}
	assert.InEpsilon(t, deviation, b.Deviation(1), 0.01, "what is missing is not learned to be constant")
	assert.InDelta(t, mean, b.Mean(1), 0, "nor to be elsewhere")
	var sum float64
	for range 200 {
		sum += take(b, draw())
	}
	assert.InEpsilon(t, 3, sum/200, 0.3, "and returns as it was")
}

func TestALateDimensionComesOfAgeBeforeItCounts(t *testing.T) {
	b, draw := NewBaseline(gauges(3, 0.1), 1e-4), correlated(9, 3)
	for range 500 {
		x := draw()
		x[2] = math.NaN()
		take(b, x)
	}
	b.primer = nil
	for k := range 200 {
		d2 := b.Score(draw())
		assert.Equal(t, k >= bootstrap, b.Mature(2))
		assert.Equal(t, 2+count(k >= bootstrap), b.Present())
		assert.Less(t, d2, 60.0, "observation %d", k)
		take(b, draw())
	}
	assert.InDelta(t, 20, b.Mean(2), 2)
	assert.InEpsilon(t, 3*math.Sqrt2, b.Deviation(2), 0.3)
}

func TestTheMarginalFactorIsKept(t *testing.T) {
	b, draw := learned(gauges(4, 0.1), 5, 1e-3, 1000)
	x := draw()
	x[1] = math.NaN()
	want := b.Score(x)
	b.marginal.factor.inverse[0] *= 2 // seen only where the factor is used again
	assert.Greater(t, math.Abs(b.Score(x)-want), 1e-6, "kept for the same dimensions")
	y := append([]float64(nil), x...)
	y[1], y[2] = 10, math.NaN() // as many
	b.Score(y)
	assert.InDelta(t, want, b.Score(x), 1e-9, "but not for others")
	b.marginal.factor.inverse[0] *= 2
	b.refactor()
	assert.InEpsilon(t, want, b.Score(x), 0.01, "nor after the next factorisation")
}

func TestADimensionMissingThroughAPlateauReturnsAsItWas(t *testing.T) {
	const level = 100 // far from zero
	f := newFeed(New(Config{Dimensions: freeDimensions(8)}), newProcess(2, 8, 0.5, false))
	f.change = func(x []float64) { x[7] += level }
	f.run(12000)
	mean := f.d.fast.base.Mean(7)
	require.InDelta(t, level, mean, 1)
	f.change = func(x []float64) {
		x[7] = math.NaN()
		for j := range x[:4] {
			x[j] += 6
		}
	}
	f.run(12000)
	require.Equal(t, 1, f.accepted)
	assert.InDelta(t, mean, f.d.fast.base.Mean(7), 0.01)
	assert.InDelta(t, mean, f.d.slow.base.Mean(7), 1)
	f.change = func(x []float64) {
		x[7] += level
		for j := range x[:4] {
			x[j] += 6
		}
	}
	assert.Zero(t, f.run(600), "its return is no news")
}

func TestAConstantDimensionDoesNotExplode(t *testing.T) {
	b := NewBaseline(gauges(2, 0.5), 1e-3)
	for range 1000 {
		take(b, []float64{1, 0})
	}
	assert.InEpsilon(t, 4, b.Score([]float64{1, 1}), 0.1)
	free := NewBaseline(freeDimensions(2), 1e-3)
	for range 1000 {
		take(free, []float64{1, 0})
	}
	assert.Less(t, free.Score([]float64{2, 1e30}), 2*math.Pow(bend*(1+math.Log(unheard/bend)), 2), "a twitch of what never moved is bounded")
}

func TestTheLeastFloorKeepsSquaresFinite(t *testing.T) {
	b := NewBaseline(gauges(2, 1e-155), 1e-3)
	for range 300 {
		take(b, []float64{0, 0})
	}
	assert.False(t, math.IsInf(b.Score([]float64{huge, huge}), 0))
}
