// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// correlated returns draws of n coordinates that share a factor.
func correlated(seed uint64, n int) func() []float64 {
	rng := rand.New(rand.NewPCG(seed, 1))
	return func() []float64 {
		shared := rng.NormFloat64()
		x := make([]float64, n)
		for j := range x {
			x[j] = 10*float64(j) + float64(j+1)*(shared+rng.NormFloat64())
		}
		return x
	}
}

func floors(n int, f float64) []float64 {
	v := make([]float64, n)
	for j := range v {
		v[j] = f
	}
	return v
}

func learned(seed uint64, n, observations int) (*Baseline, func() []float64) {
	b, draw := NewBaseline(floors(n, 0.1), 1e-4), correlated(seed, n)
	for range observations {
		x := draw()
		b.Learn(x, b.Score(x), 100)
	}
	return b, draw
}

func TestContributionsSumToTheSquaredDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 16).Draw(t, "n")
		b, draw := learned(rapid.Uint64().Draw(t, "seed"), n, 200)
		x := draw()
		for j := range x {
			x[j] += rapid.Float64Range(-100, 100).Draw(t, "deviation")
			if rapid.IntRange(0, 5).Draw(t, "missing") == 0 {
				x[j] = math.NaN()
			}
		}
		d2 := b.Score(x)
		var sum float64
		for j := range n {
			c := b.Contribution(j)
			if x[j] != x[j] {
				assert.Zero(t, c, "a missing dimension contributes nothing")
			}
			sum += c
		}
		assert.InDelta(t, d2, sum, 1e-9*(1+d2))
		assert.GreaterOrEqual(t, d2, 0.0)
	})
}

func TestBaselineLearnsMeanAndCovariance(t *testing.T) {
	b, draw := learned(7, 4, 20000)
	for j := range 4 {
		assert.InDelta(t, 10*float64(j), b.Mean(j), 0.1*float64(j+1))
		assert.InEpsilon(t, math.Sqrt2*float64(j+1), b.Deviation(j), 0.05)
	}
	assert.Less(t, b.Autocorrelation(), 0.05)
	assert.InDelta(t, 4, b.Dimensions(), 0.5, "four independent ways to vary")
	// Σ is (I + 11ᵀ) scaled: a deviation along the shared factor is half as
	// surprising as one of equal size against it.
	x := draw()
	along, against := make([]float64, 4), make([]float64, 4)
	for j := range x {
		s := 3 * float64(j+1)
		along[j], against[j] = 10*float64(j)+s, 10*float64(j)+s*float64(1-2*(j%2))
	}
	assert.InEpsilon(t, 9*4/5.0, b.Score(along), 0.15)
	assert.InEpsilon(t, 9*4/1.0, b.Score(against), 0.2)
}

func TestUpdatedFactorFollowsTheCovariance(t *testing.T) {
	b, draw := NewBaseline(floors(8, 2), 1e-3), correlated(3, 8)
	for b.count < 999 || b.updates != 240 { // just before it is factorised afresh
		x := draw()
		b.Learn(x, b.Score(x), 100)
	}
	for j := range 8 {
		x := draw()
		x[j] += 20
		updated := b.Score(x)
		fresh := *b
		fresh.factor = newCholesky(8)
		fresh.refactor()
		assert.InEpsilon(t, fresh.Score(x), updated, 0.02, "away along dimension %d", j)
	}
}

func TestScoreDoesNotDependOnUnits(t *testing.T) {
	const n = 5
	draw := correlated(11, n)
	scale := []float64{1, 1024, 1.0 / 4096, -2, 8}
	fs := floors(n, 0.1)
	scaled := make([]float64, n)
	for j := range fs {
		scaled[j] = fs[j] * math.Abs(scale[j])
	}
	a, b := NewBaseline(fs, 1e-3), NewBaseline(scaled, 1e-3)
	for range 1000 {
		x := draw()
		y := make([]float64, n)
		for j := range x {
			y[j] = scale[j]*x[j] + 3*scale[j]
		}
		da, db := a.Score(x), b.Score(y)
		assert.InDelta(t, da, db, 1e-6*(1+da))
		a.Learn(x, da, 5)
		b.Learn(y, db, 5)
	}
}

func TestAMissingDimensionIsLeftOut(t *testing.T) {
	b, draw := learned(5, 3, 5000)
	x := draw()
	x[0], x[1], x[2] = 5, 20, 40
	whole := b.Score(x)
	x[1] = math.NaN()
	part := b.Score(x)
	assert.Equal(t, 2, b.Present())
	assert.Less(t, part, whole)
	// The marginal score of one dimension is its squared standardised deviation.
	x[2] = math.NaN()
	assert.InEpsilon(t, math.Pow((5-b.Mean(0))/b.Deviation(0), 2), b.Score(x), 1e-9)
	x[0] = math.NaN()
	assert.Zero(t, b.Score(x))

	deviation := b.Deviation(1)
	for range 2000 {
		x := draw()
		x[1] = math.NaN()
		b.Learn(x, b.Score(x), 100)
	}
	assert.InEpsilon(t, deviation, b.Deviation(1), 1e-9, "what is missing is not learned to be constant")
}

func TestALateDimensionComesOfAgeBeforeItCounts(t *testing.T) {
	b, draw := NewBaseline(floors(3, 0.1), 1e-4), correlated(9, 3)
	for range 500 {
		x := draw()
		x[2] = math.NaN()
		b.Learn(x, b.Score(x), 100)
	}
	for k := range 200 {
		x := draw()
		d2 := b.Score(x)
		assert.Equal(t, k >= bootstrap, b.Mature(2))
		assert.Less(t, d2, 60.0, "observation %d", k)
		b.Learn(x, d2, 100)
	}
}

func TestAConstantDimensionDoesNotExplode(t *testing.T) {
	b := NewBaseline(floors(2, 0.5), 1e-3)
	for range 1000 {
		x := []float64{1, 0}
		b.Learn(x, b.Score(x), 5)
	}
	assert.InEpsilon(t, 4, b.Score([]float64{1, 1}), 0.1)
}

func TestOneOutlierDoesNotOwnTheCovariance(t *testing.T) {
	b, draw := learned(2, 4, 1000)
	x := draw()
	for j := range x {
		x[j] += 1e6
	}
	before := b.Deviation(3)
	b.Learn(x, b.Score(x), 5)
	assert.Less(t, b.Deviation(3), before*1.02)
}

func TestEffectiveObservationsShrinkWithAutocorrelation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	b := NewBaseline(floors(2, 0.01), 1e-4)
	x := []float64{0, 0}
	for range 5000 {
		for j := range x {
			x[j] = 0.9*x[j] + rng.NormFloat64()
		}
		b.Learn(x, b.Score(x), 100)
	}
	assert.InDelta(t, 0.9, b.Autocorrelation(), 0.03)
	assert.InEpsilon(t, 5000/19.0, b.Effective(), 0.4)
}
