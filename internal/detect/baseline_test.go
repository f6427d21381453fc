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
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// correlated returns draws of n coordinates that share a factor: coordinate j
// has mean 10j and variance 2(j+1)².
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

// gauges are n dimensions taken as they are, with a floor.
func gauges(n int, floor float64) []Dimension {
	dims := freeDimensions(n)
	for j := range dims {
		dims[j].Transform, dims[j].Floor = Identity, floor
	}
	return dims
}

// take scores and learns x.
func take(b *Baseline, x []float64) float64 {
	d2 := b.Score(x)
	b.Learn(x, 1, 1)
	return d2
}

// learned is a baseline past its warm-up.
func learned(dims []Dimension, seed uint64, decay float64, observations int) (*Baseline, func() []float64) {
	b, draw := NewBaseline(dims, decay), correlated(seed, len(dims))
	for k := range observations {
		if k == 300 {
			b.primer = nil
		}
		take(b, draw())
	}
	b.primer = nil
	return b, draw
}

func TestBaselineLearnsMeanAndCovariance(t *testing.T) {
	b, _ := learned(gauges(4, 0.1), 7, 1e-4, 20000)
	for j := range 4 {
		assert.InDelta(t, 10*float64(j), b.Mean(j), 0.1*float64(j+1))
		assert.InEpsilon(t, math.Sqrt2*float64(j+1), b.Deviation(j), 0.05)
	}
	assert.Less(t, b.Autocorrelation(), 0.05)
	// Σ is (I + 11ᵀ) scaled: a deviation along the shared factor is less
	// surprising than one of equal size against it.
	along, against := make([]float64, 4), make([]float64, 4)
	for j := range 4 {
		s := 3 * float64(j+1)
		along[j], against[j] = 10*float64(j)+s, 10*float64(j)+s*float64(1-2*(j%2))
	}
	assert.InEpsilon(t, 9*4/5.0, b.Score(along), 0.15)
	assert.InEpsilon(t, 9*4/1.0, b.Score(against), 0.2)
}

func TestContributionsSumToTheSquaredDistance(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 16).Draw(t, "n")
		dims := gauges(n, 0.1)
		if rapid.Bool().Draw(t, "free") {
			dims = freeDimensions(n)
		}
		b, draw := learned(dims, rapid.Uint64().Draw(t, "seed"), 1e-4, 200)
		x := draw()
		for j := range x {
			x[j] += rapid.Float64Range(-100, 100).Draw(t, "deviation")
			if rapid.IntRange(0, 5).Draw(t, "missing") == 0 {
				x[j] = math.NaN()
			}
		}
		d2 := b.Score(x)
		b.explain()
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

func TestJudgementsAreExplainedByTheirContributions(t *testing.T) {
	for _, n := range []int{arc.MaxContributions, 12} {
		d, p := New(Config{Dimensions: freeDimensions(n), Lean: true}), newProcess(4, n, 0.5, false)
		f := newFeed(d, p)
		f.run(500)
		require.True(t, f.j.Ready)
		for k := range 1000 {
			// Learning forgets what was scored: nothing is, every other time.
			f.control.LeaseHeld = k%2 == 0
			f.run(1)
			if !f.control.LeaseHeld {
				continue
			}
			var all, listed float64
			for j := range n {
				all += d.fast.base.Contribution(j)
			}
			for _, c := range f.j.Contributions[:f.j.NumContributions] {
				listed += c.Share
			}
			d2 := f.j.Distance * f.j.Distance
			require.InDelta(t, d2, all, 1e-9*(1+d2))
			if n == arc.MaxContributions {
				require.InDelta(t, d2, listed, 1e-9*(1+d2))
			}
		}
		assert.Nil(t, d.fast.base.primer, "the beginning is over")
	}
}

func TestScoresDoNotDependOnUnits(t *testing.T) {
	units := []float64{1, 1e9, 1e-9, -1, -1e9, 3}
	a, b := New(Config{Dimensions: freeDimensions(6)}), New(Config{Dimensions: freeDimensions(6)})
	p := newProcess(5, 6, 0.5, false)
	var ja, jb arc.Judgement
	for k := range 3000 {
		x := slices.Clone(p.next())
		at := Instant{Due: int64(k+1) * 100 * ms, Taken: int64(k+1) * 100 * ms, Interval: 100 * ms}
		a.Step(at, x, arc.Control{}, &ja)
		for j := range x {
			x[j] *= units[j]
		}
		b.Step(at, x, arc.Control{}, &jb)
		require.InDelta(t, ja.Distance, jb.Distance, 1e-4*(1+ja.Distance), "decision %d", k)
		require.InDelta(t, ja.Limit, jb.Limit, 1e-4*(1+ja.Limit), "decision %d", k)
		require.Equal(t, ja.Anomalous, jb.Anomalous, "decision %d", k)
	}
	assert.True(t, ja.Ready)
}

func TestNearlyCollinearDimensionsStayFinite(t *testing.T) {
	const n = 5
	rng := rand.New(rand.NewPCG(1, 1))
	draw := func() []float64 {
		v := rng.NormFloat64()
		return []float64{v, v, v + 1e-9*rng.NormFloat64(), -1e6 * v, 3 * v}
	}
	b := NewBaseline(freeDimensions(n), 1e-5)
	for k := range 20000 {
		if k == 300 {
			b.primer = nil
		}
		take(b, draw())
	}
	var sum float64
	for range 1000 {
		d2 := b.Score(draw())
		require.Less(t, d2, 50.0)
		sum += d2
	}
	assert.Less(t, sum/1000, float64(n), "one way to vary")
	x := draw()
	x[1] += 3
	d2 := b.Score(x)
	assert.Greater(t, d2, 100.0, "what never happened")
	u2 := 0.0
	for _, u := range b.deviation {
		u2 += u * u
	}
	assert.Less(t, d2, u2/0.005, "bounded by the ridge")
}

func TestWeightAndShareOfAnObservation(t *testing.T) {
	moved := func(w, share float64) (mean, count float64) {
		b, draw := learned(gauges(3, 0.1), 3, 1e-4, 1000)
		x := draw()
		x[0] = b.Mean(0) + 2*b.Deviation(0)
		before, had := b.Mean(0), b.count
		b.Score(x)
		b.Learn(x, w, share)
		return b.Mean(0) - before, b.count - had
	}
	whole, one := moved(1, 1)
	assert.Positive(t, whole)
	assert.InDelta(t, 1, one, 1e-9)
	half, one := moved(0.5, 1)
	assert.InEpsilon(t, whole/2, half, 1e-9)
	assert.InDelta(t, 1, one, 1e-9, "a clipped one is one all the same")
	tenth, part := moved(1, 0.1)
	assert.InEpsilon(t, whole/10, tenth, 0.01)
	assert.InDelta(t, 0.1, part, 1e-9)
}

func TestOneOutlierDoesNotOwnTheCovariance(t *testing.T) {
	for name, dims := range map[string][]Dimension{"gauges": gauges(4, 0.1), "free": freeDimensions(4)} {
		b, draw := learned(dims, 2, 1e-4, 2000)
		x := draw()
		for j := range x {
			x[j] += 1e6
		}
		before := b.Deviation(3)
		b.Learn(x, weight(b.Score(x), 6), 1)
		b.refactor()
		assert.Less(t, b.Deviation(3), before*1.1, name)
	}
}

func TestAGlitchBlindsNobody(t *testing.T) {
	b, draw := learned(freeDimensions(4), 2, 1e-4, 2000)
	x := draw()
	x[2] += 20
	want := b.Score(x)
	for _, absurd := range []float64{1e12, -1e38} {
		y := draw()
		y[2] = absurd
		assert.Greater(t, b.Score(y), 100.0)
		assert.InDelta(t, want, b.Score(x), 1e-9)
	}
}

func TestEffectiveObservationsShrinkWithAutocorrelation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	b := NewBaseline(gauges(2, 0.01), 1e-4)
	x := []float64{0, 0}
	for k := range 5000 {
		if k == 300 {
			b.primer = nil
		}
		for j := range x {
			x[j] = 0.9*x[j] + rng.NormFloat64()
		}
		take(b, x)
	}
	assert.InDelta(t, 0.9, b.Autocorrelation(), 0.03)
	assert.InEpsilon(t, 5000/19.0, b.Effective(), 0.4)
}

func TestShrinkageIsTheOracleApproximation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 10).Draw(t, "n")
		m := rapid.Float64Range(2, 1e4).Draw(t, "m")
		_, s := definite(t, n)
		for i := range n { // correlations
			for j := i + 1; j < n; j++ {
				s.SetSym(i, j, s.At(i, j)/math.Sqrt(s.At(i, i)*s.At(j, j)))
			}
		}
		for i := range n {
			s.SetSym(i, i, 1)
		}
		var square mat.Dense
		square.Mul(s, s)
		p, trace, trace2 := float64(n), mat.Trace(s), mat.Trace(&square)
		// Chen et al. (2010), eq. 23.
		rho := ((1-2/p)*trace2 + trace*trace) / ((m + 1 - 2/p) * (trace2 - trace*trace/p))
		assert.InDelta(t, max(ridge, min(1, rho)), oas(p, trace2, m), 1e-9)
	})
	assert.InDelta(t, 1, oas(4, 4, 100), 0, "nothing is correlated")
	assert.InDelta(t, 1, oas(4, 8, 1), 0, "one observation says nothing")
	assert.InDelta(t, ridge, oas(4, 8, 1e9), 0, "never quite nothing")
}

func TestACopyIsIndependent(t *testing.T) {
	a, draw := learned(gauges(4, 0.1), 6, 1e-3, 1000)
	b := NewBaseline(gauges(4, 0.1), 1e-3)
	b.CopyFrom(a)
	x := draw()
	a.refactor()
	want := a.Score(x)
	assert.InEpsilon(t, want, b.Score(x), 1e-9)
	for range 500 {
		y := draw()
		for j := range y {
			y[j] += 20
		}
		take(a, y)
	}
	assert.Greater(t, math.Abs(a.Score(x)-want), 1e-3)
	b.refactor()
	assert.InEpsilon(t, want, b.Score(x), 1e-9)
}

func TestTheSlowBaselineBeginsWhereTheFastOneWas(t *testing.T) {
	d := New(Config{Dimensions: freeDimensions(2), HalfLife: 1, Lean: true})
	f := newFeed(d, newProcess(8, 2, 0, false))
	for !d.apart {
		f.run(1)
		require.Less(t, d.decisions, 10000)
	}
	require.Nil(t, d.slow.base.primer)
	had := d.slow.base.count
	assert.GreaterOrEqual(t, had, 1/d.fast.base.decay-2)
	assert.Equal(t, d.fast.base.mean, d.slow.base.mean)
	assert.Less(t, d.slow.base.decay, d.fast.base.decay*slowStride)
	mean := slices.Clone(d.slow.base.mean)
	f.run(1000)
	require.Nil(t, d.slow.base.primer)
	assert.InDelta(t, had+1000.0/slowStride, d.slow.base.count, 10, "it goes on, it does not begin again")
	for j, m := range d.slow.base.mean {
		assert.InDelta(t, mean[j], m, 0.1)
	}
}
