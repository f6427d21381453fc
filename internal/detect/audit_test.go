// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func disagreement(t *testing.T, seed uint64, change func(k int) func(x []float64)) float64 {
	t.Helper()
	f := newFeed(New(Config{Dimensions: freeDimensions(6)}), newProcess(seed, 6, 0, false))
	for k := range 6000 {
		f.change = change(k)
		f.run(1)
	}
	var a Audit
	require.True(t, f.d.TakeAudit(&a))
	return a.Disagreement()
}

func TestTheAuditSeesAContaminatedFactor(t *testing.T) {
	var clean, foul float64
	for seed := range uint64(5) {
		c := disagreement(t, seed, func(int) func([]float64) { return nil })
		assert.Less(t, c, 0.4)
		clean += c / 5
		foul += disagreement(t, seed, func(k int) func([]float64) {
			if k%5 != 0 {
				return nil
			}
			return func(x []float64) { // from the beginning, so that it is learned
				for j := range x {
					x[j] += 8 * float64(1-j%2*2)
				}
			}
		}) / 5
	}
	t.Logf("clean %.2f, with a fifth of outliers %.2f", clean, foul)
	assert.Greater(t, foul, 2*clean)
}

func TestTooFewRowsAreNotAudited(t *testing.T) {
	var a Audit
	f := newFeed(New(Config{Dimensions: freeDimensions(6)}), newProcess(1, 6, 0, false))
	f.run(100)
	assert.False(t, f.d.TakeAudit(&a))
	f.run(200)
	assert.True(t, f.d.TakeAudit(&a))
	wide := newFeed(New(Config{Dimensions: freeDimensions(60)}), newProcess(1, 60, 0, false))
	wide.run(2000)
	assert.False(t, wide.d.TakeAudit(&a), "192 rows say nothing of 60 dimensions")
	sparse := newFeed(New(Config{Dimensions: freeDimensions(6)}), newProcess(1, 6, 0, false))
	k := 0
	sparse.change = func(x []float64) {
		if k++; k%8 != 0 {
			x[3] = math.NaN()
		}
	}
	sparse.run(2000)
	assert.False(t, sparse.d.TakeAudit(&a), "most rows have a hole")
	lean := newFeed(New(Config{Dimensions: freeDimensions(6), Lean: true}), newProcess(1, 6, 0, false))
	lean.run(2000)
	assert.False(t, lean.d.TakeAudit(&a))
}

func TestAnAuditIsACopy(t *testing.T) {
	f := newFeed(New(Config{Dimensions: freeDimensions(6)}), newProcess(1, 6, 0, false))
	f.run(2000)
	var a, b Audit
	require.True(t, f.d.TakeAudit(&a))
	require.True(t, f.d.TakeAudit(&b))
	want := a.Disagreement()
	f.run(2000)
	assert.InDelta(t, want, b.Disagreement(), 0)
}

func TestKurtosisIsOneForAGaussian(t *testing.T) {
	const n = 8
	rng := rand.New(rand.NewPCG(1, 1))
	draw := func(degrees int) float64 {
		var d2, chi float64
		for range n {
			z := rng.NormFloat64()
			d2 += z * z
		}
		if degrees == 0 {
			return d2
		}
		for range degrees {
			z := rng.NormFloat64()
			chi += z * z
		}
		return d2 * float64(degrees-2) / chi
	}
	var none, gaussian, heavy kurtosis
	assert.Zero(t, none.ratio())
	for range 50000 {
		gaussian.learn(draw(0), 1e-5)
		heavy.learn(draw(5), 1e-5)
	}
	assert.InDelta(t, 1, gaussian.ratio(), 0.03)
	assert.Greater(t, heavy.ratio(), 1.5)
	for name, t5 := range map[string]bool{"Gaussian": false, "t5": true} {
		f := newFeed(New(Config{Dimensions: freeDimensions(n), Lean: true}), newProcess(1, n, 0, t5))
		f.run(10000)
		var r Report
		f.d.Report(&r)
		t.Logf("%s, as the detector sees it: %.2f", name, r.Kurtosis)
		assert.Equal(t, t5, r.Kurtosis > 1.15, name)
	}
}
