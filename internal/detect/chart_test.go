// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"
)

// watched is a set of charts over whitened deviations, past its beginning.
type watched struct {
	rng      *rand.Rand
	charts   charts
	z        []float64
	clip     float64
	reach    float64
	rarities [numCharts]float64
}

func newWatched(seed uint64) *watched {
	w := &watched{rng: rand.New(rand.NewPCG(seed, 5)), charts: newCharts(8), z: make([]float64, 8), clip: 8, reach: 1e3}
	for range 20000 {
		w.step(nil)
		var v values
		v.set(&w.charts)
		w.charts.learn(&v, scaleFloor, 1)
	}
	return w
}

// step draws a healthy deviation, changes it, and lets the charts see it.
func (w *watched) step(change func(z []float64)) {
	var d2 float64
	for j := range w.z {
		w.z[j] = w.rng.NormFloat64()
	}
	if change != nil {
		change(w.z)
	}
	for _, v := range w.z {
		d2 += v * v
	}
	w.charts.step(w.z, d2, w.clip, reference, w.reach)
	w.charts.rarities(&w.rarities)
}

func scaled(f float64) func(int) func([]float64) {
	return func(int) func([]float64) {
		return func(z []float64) {
			for j := range z {
				z[j] *= f
			}
		}
	}
}

func shifted(by float64) func(int) func([]float64) {
	return func(int) func([]float64) { return func(z []float64) { z[2] += by } }
}

func TestEachChartSeesItsOwnKindOfChange(t *testing.T) {
	for _, c := range []struct {
		chart  chart
		name   string
		change func(k int) func(z []float64)
		lasts  int
	}{
		{sudden, "one burst", shifted(12), 1},
		{steady, "a shift of three for half a second", shifted(3), 5},
		{drift, "a shift of one for twenty seconds", shifted(1), 200},
		{spread, "half as much deviation again for two seconds", scaled(1.5), 20},
		{lasting, "a fifth more deviation for half a minute", scaled(1.2), 300},
		{repeated, "bursts this way and that", func(k int) func([]float64) {
			return func(z []float64) { z[k%8] += 6 * float64(1-k%2*2) }
		}, repeats},
	} {
		t.Run(chartNames[c.chart]+"/"+c.name, func(t *testing.T) {
			greatest := 0
			for seed := range uint64(9) {
				w := newWatched(seed)
				for range 300 {
					w.step(nil)
				}
				calm := w.rarities[c.chart]
				for k := range c.lasts {
					w.step(c.change(k))
				}
				u := w.rarities[c.chart]
				greatest += count(u == slices.Max(w.rarities[:]) && u > 2 && u > calm)
			}
			t.Logf("the most alarmed of its charts in %d of 9", greatest)
			assert.GreaterOrEqual(t, greatest, 6)
		})
	}
}

func TestASingleBurstIsNotRepeated(t *testing.T) {
	for seed := range uint64(5) {
		w := newWatched(seed)
		w.step(shifted(50)(0))
		assert.Greater(t, w.rarities[sudden], 10.0)
		for range repeats {
			assert.Less(t, w.rarities[repeated], 3.0)
			assert.Less(t, w.rarities[drift], 10.0, "it is clipped")
			w.step(nil)
		}
	}
}

func TestTheCUSUMFallsSoonAfterItsCause(t *testing.T) {
	f := settledFeed(5, Config{Lean: true})
	f.change = func(x []float64) { x[0] += 3 }
	require.Positive(t, f.run(1000))
	o := &f.d.fast
	require.Greater(t, o.rarities[drift], f.d.limit)
	assert.Less(t, o.rarities[drift], f.d.limit+2*beyond, "capped")
	f.change = nil
	after := 0
	for o.rarities[drift] > f.d.limit {
		f.run(1)
		after++
		require.Less(t, after, 50)
	}
	t.Logf("below the limit after %d decisions", after)
}

func TestAScaleFollowsQuantileAndMeanExcess(t *testing.T) {
	chi := distuv.ChiSquared{K: 8}
	rng := rand.New(rand.NewPCG(3, 3))
	chiDraw := func() float64 {
		var s float64
		for range 8 {
			z := rng.NormFloat64()
			s += z * z
		}
		return s
	}
	q := chi.Quantile(body)
	excess := 0.0 // ∫ P(X > x) dx beyond q, over P(X > q)
	for x := q; x < 80; x += 0.01 {
		excess += 0.01 * chi.Survival(x) / (1 - body)
	}
	for name, c := range map[string]struct {
		draw func() float64
		q, e float64
	}{
		"exponential": {rng.ExpFloat64, math.Log(20), 1},
		"chi-square":  {chiDraw, q, excess},
		"a thousand":  {func() float64 { return 1000 * rng.ExpFloat64() }, 1000 * math.Log(20), 1000},
	} {
		var s scale
		for range 50000 {
			s.learn(c.draw(), scaleFloor, 1)
		}
		assert.InEpsilon(t, c.q, s.q, 0.08, name)
		assert.InEpsilon(t, c.e, s.e, 0.15, name)
		for range 50000 { // and follows what drifts
			s.learn(2*c.draw(), scaleFloor, 1)
		}
		assert.InEpsilon(t, 2*c.q, s.q, 0.08, name)
	}
}

func TestAScaleForgetsWhatABaselineBeforeSaid(t *testing.T) {
	settle := func(reconsider bool) *scale {
		c := newCharts(1)
		rng := rand.New(rand.NewPCG(4, 6))
		for k := range 90 {
			v := values{}
			v[sudden] = float32(2 + 0.3*rng.NormFloat64())
			if k < 40 {
				v[sudden] *= 30 // what the baseline that was hardly begun said
			}
			if k == 40 && reconsider {
				c.reconsider()
			}
			c.learn(&v, scaleFloor, 1)
		}
		return &c.scale[sudden]
	}
	stale, fresh := settle(false), settle(true)
	assert.Less(t, fresh.q, 0.75*stale.q)
	assert.Less(t, fresh.q+5*fresh.e, 0.7*(stale.q+5*stale.e))
}

func TestAYoungScaleIsCautiousToo(t *testing.T) {
	after := func(share float64) float64 {
		var s scale
		for k := range 100 {
			s.learn(2+0.1*float64(k%7), scaleFloor, 1)
		}
		before := s.q + 5*s.e
		s.learn(9, scaleFloor, share)
		return (s.q + 5*s.e) / before
	}
	assert.Greater(t, after(1), 1.3)
	assert.Less(t, after(0.1)-1, 0.35*(after(1)-1))
}

func TestAScaleKnownFromFewDoubts(t *testing.T) {
	s := scale{q: 3, e: 0.5, seen: 20}
	assert.InDelta(t, 4, s.of(7, 20), 1e-12, "half of eight")
	s.seen = 1e9
	assert.InDelta(t, 8, s.of(7, 20), 1e-6)
	assert.InDelta(t, -offset, s.of(0, 20), 0)
	var none scale
	assert.InDelta(t, -offset, none.of(7, 20), 0, "nothing is known")
}
