// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestATransientDoesNotOwnTheBeginning(t *testing.T) {
	for name, dims := range map[string][]Dimension{"gauges": gauges(4, 0.1), "free": freeDimensions(4)} {
		for _, observations := range []int{40, 300, 3000} {
			b, draw := NewBaseline(dims, 1e-4), correlated(3, 4)
			for k := range observations {
				x := draw()
				if k < observations*3/20 {
					for j := range x {
						x[j] += 1000
					}
				}
				take(b, x)
			}
			b.primer.estimate(b)
			for j := range 4 {
				sd := math.Sqrt2 * float64(j+1)
				assert.InDelta(t, 10*float64(j), b.Mean(j), 2*sd, "%s, mean %d of %d", name, j, observations)
				floor := 0.0
				if name == "free" {
					floor = relative * 1100 // of the largest magnitude it has shown
				}
				assert.Less(t, b.Deviation(j), 5*sd+floor, "%s, deviation %d of %d", name, j, observations)
			}
		}
	}
}

func TestALongWarmUpKeepsASpreadSample(t *testing.T) {
	const fed = 5000
	p := newPrimer(1)
	for k := range fed {
		p.keep([]float64{float64(k)})
	}
	require.GreaterOrEqual(t, p.rows, primed/2)
	require.LessOrEqual(t, p.rows, primed)
	last := float32(-1)
	for k := range p.rows {
		v := p.row(k)[0]
		assert.Greater(t, v, last)
		assert.LessOrEqual(t, v-last, float32(2*p.stride), "no hole")
		last = v
	}
	assert.Less(t, p.row(0)[0], float32(2*p.stride))
	assert.GreaterOrEqual(t, last, float32(fed-4*p.stride))
}

func TestOneAbsurdValueInTheWarmUpIsForgotten(t *testing.T) {
	for _, absurd := range []float64{math.MaxFloat64, -math.MaxFloat64, 1e50, 1e30} {
		b, draw := NewBaseline(freeDimensions(3), 1e-4), correlated(3, 3)
		dim := Free("")
		for k := range 300 {
			x := draw()
			if k == 10 {
				x[1] = dim.forward(absurd)
			}
			take(b, x)
		}
		b.primer.estimate(b)
		assert.InDelta(t, 10, b.Mean(1), 1, "%g", absurd)
		assert.InEpsilon(t, 2*math.Sqrt2, b.Deviation(1), 0.3, "%g", absurd)
	}
}

func TestADimensionOfFewBurstsIsJudgedByThem(t *testing.T) {
	b := NewBaseline(freeDimensions(1), 1e-4)
	for k := range 300 {
		take(b, []float64{float64(count(k%20 == 0)) * 100})
	}
	b.primer.estimate(b)
	assert.Greater(t, b.Deviation(0), 0.5, "not by its zeros")
}

func TestAnAbsurdConstantIsMissing(t *testing.T) {
	dim := Free("")
	b := NewBaseline([]Dimension{dim}, 1e-4)
	for range 300 {
		take(b, []float64{dim.forward(1e50)})
	}
	b.primer.estimate(b)
	assert.Zero(t, b.Score([]float64{dim.forward(1e50)}))
	assert.Zero(t, b.Present(), "no metric is so large")
}
