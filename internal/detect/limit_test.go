// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"gonum.org/v1/gonum/stat/distuv"
)

func TestUpperFAgreesWithGonumWhereGonumIsPrecise(t *testing.T) {
	for _, d1 := range []float64{1, 3, 16} {
		for _, d2 := range []float64{20, 300} {
			for _, q := range []float64{0.3, 1e-2, 1e-4} {
				assert.InEpsilon(t, distuv.F{D1: d1, D2: d2}.Quantile(1-q), upperF(q, d1, d2), 1e-6)
			}
		}
	}
	assert.InEpsilon(t, distuv.ChiSquared{K: 16}.Quantile(1-1e-6)/16, upperF(1e-6, 16, 1e6), 1e-3)
}

func TestTheoreticalLimitFallsWithKnowledge(t *testing.T) {
	var th theory
	few, many := th.at(1e-5, 16, 60), th.at(1e-5, 16, 1e6)
	assert.Greater(t, few, 1.4*many)
	assert.InEpsilon(t, math.Sqrt(distuv.ChiSquared{K: 16}.Quantile(1-1e-5)), many, 1e-3)
	assert.Greater(t, th.at(1e-7, 16, 1e6), many, "rarer means further")
	assert.Less(t, th.at(1e-5, 4, 1e6), many, "fewer dimensions mean nearer")
}

func TestTailFindsTheReturnLevel(t *testing.T) {
	// Exponential ratios: exceeded once in N at scale·ln N, were the reach not
	// bounded.
	for _, tt := range []struct {
		name string
		draw func(*rand.Rand) float64
		want func(n float64) float64
	}{
		{
			"exponential", func(r *rand.Rand) float64 { return 0.3 + 0.15*r.ExpFloat64() },
			func(n float64) float64 { return 0.3 + 0.15*math.Log(n) },
		},
		{
			"generalised Pareto, shape 0.2", func(r *rand.Rand) float64 { return 0.3 + 0.15/0.2*(math.Pow(r.Float64(), -0.2)-1) },
			func(n float64) float64 { return 0.3 + 0.15/0.2*(math.Pow(n, 0.2)-1) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(4, 4))
			var tl tail
			tl.reset()
			for range 20000 {
				tl.observe(tt.draw(rng))
			}
			below := tt.want(20)
			assert.InEpsilon(t, below, tl.threshold, 0.1, "the threshold is the 95 %% quantile")
			assert.InEpsilon(t, tt.want(20000), tl.level(20000), 0.25)
			assert.Less(t, tl.level(1e12), greatestReach*tl.greatest, "what was never seen is not believed without end")
		})
	}
}

func TestTailNeverGoesBelowTheory(t *testing.T) {
	var tl tail
	tl.reset()
	assert.Equal(t, 1.0, tl.level(1e6))
	for range 5000 {
		tl.observe(0.01)
	}
	assert.Equal(t, 1.0, tl.level(1e6))
}

func TestTrendOfARampIsItsSlope(t *testing.T) {
	for _, dt := range []float64{0.1, 0.01} {
		rng := rand.New(rand.NewPCG(1, 2))
		tr := NewTrend(20, 0.05)
		for k := range int(5 / dt) {
			tr.Update(2+3*float64(k)*dt+0.3*rng.NormFloat64(), dt)
		}
		assert.InDelta(t, 17, tr.Value(), 1)
		assert.InDelta(t, 3, tr.Velocity(), 1.5, "dt %v", dt)
	}
}

func TestTrendOfAParabolaIsItsCurvature(t *testing.T) {
	tr := NewTrend(20, 0.05)
	for k := range 100 {
		s := float64(k) * 0.1
		tr.Update(2*s*s, 0.1)
	}
	assert.InDelta(t, 4, tr.Acceleration(), 0.2)
	tr.Update(math.NaN(), 0.1)
	tr.Update(5, 0)
	assert.False(t, math.IsNaN(tr.Value()))
}

func TestTrendFollowsAChangeAfterALongRest(t *testing.T) {
	tr := NewTrend(20, 0.05)
	for range 6000 {
		tr.Update(0, 0.1)
	}
	for k := range 30 {
		s := float64(k) * 0.1
		tr.Update(2*s*s, 0.1)
	}
	assert.InDelta(t, 4, tr.Acceleration(), 1)
	assert.InDelta(t, 12, tr.Velocity(), 2)
}
