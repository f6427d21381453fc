// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// regimes counts the regimes of n decisions.
func regimes(f *feed, n int) map[int8]int {
	seen := map[int8]int{}
	for range n {
		f.run(1)
		seen[f.j.Regime]++
	}
	return seen
}

func shiftedLoad(by float64) func([]float64) {
	return func(x []float64) {
		for j := range x[:4] {
			x[j] += by
		}
	}
}

func TestCalmIsHomeostasis(t *testing.T) {
	f := settledFeed(1, Config{})
	assert.Equal(t, map[int8]int{RegimeHomeostasis: 500}, regimes(f, 500))
}

func TestAnAbruptDropInLoadIsSilence(t *testing.T) {
	f := settledFeed(1, Config{})
	f.change = shiftedLoad(-8)
	assert.GreaterOrEqual(t, regimes(f, 200)[RegimeSilence], 195)
	f.control = arc.Control{Harm: true}
	assert.Equal(t, map[int8]int{RegimeFailure: 50}, regimes(f, 50), "harm is no silence")

	harmed := settledFeed(1, Config{})
	harmed.change, harmed.control = shiftedLoad(-8), arc.Control{Harm: true}
	assert.Zero(t, regimes(harmed, 50)[RegimeSilence], "not even at first")

	slow := settledFeed(1, Config{})
	fallen := 0.0
	slow.change = func(x []float64) {
		fallen -= 0.02
		for j := range x {
			x[j] += fallen
		}
	}
	assert.Zero(t, regimes(slow, 600)[RegimeSilence], "what falls slowly does not fall silent")
	assert.Less(t, slow.j.Direction, float64(quiet))
}

func TestASteadyHarmlessStateIsAPlateauBeforeItIsAccepted(t *testing.T) {
	f := settledFeed(2, Config{})
	f.change = shiftedLoad(6)
	early := regimes(f, 2900)
	assert.Zero(t, early[RegimePlateau], "not known to be steady yet")
	assert.Positive(t, early[RegimeFailure])
	before := 0
	for f.accepted == 0 {
		f.run(1)
		before += count(f.j.Regime == RegimePlateau)
		require.Less(t, before, 9000)
	}
	assert.Greater(t, before, 1000)
	assert.Equal(t, RegimeHomeostasis, f.j.Regime, "and then it is normal")
}

func TestWhatGrowsOrHarmsIsFailure(t *testing.T) {
	grown := 0.0
	for name, c := range map[string]struct {
		change  func([]float64)
		control arc.Control
	}{
		"a leak":          {change: func(x []float64) { grown += 0.01; x[2] += grown }},
		"a level, harmed": {change: shiftedLoad(6), control: arc.Control{Harm: true}},
	} {
		f := settledFeed(2, Config{})
		f.change, f.control = c.change, c.control
		f.run(1500)
		seen := regimes(f, 5000)
		assert.Greater(t, seen[RegimeFailure], 4900, "%s: %v", name, seen)
		assert.Zero(t, seen[RegimePlateau], name)
		assert.Zero(t, f.accepted, name)
	}
}

func TestWhatIsJudgedUnreadyHasNoRegime(t *testing.T) {
	f := newFeed(New(Config{Dimensions: freeDimensions(8)}), newProcess(1, 8, 0.5, false))
	f.run(200)
	f.change = shiftedLoad(-50)
	assert.Equal(t, map[int8]int{RegimeHomeostasis: 50}, regimes(f, 50))
}

func TestADeformedStateIsNoPlateau(t *testing.T) {
	f := settledFeed(3, Config{})
	k := 3.0
	f.change = func(x []float64) {
		k = -k // as fast as decisions are made
		for j := range x[:4] {
			x[j] += 6 + k*float64(1-j%2*2)
		}
	}
	require.Positive(t, f.run(20))
	f.run(12000)
	assert.Greater(t, f.j.Deformation, 1.0)
	assert.Zero(t, f.accepted, "its mean is steady, its shape is another")
	assert.Equal(t, RegimeFailure, f.j.Regime)
}
