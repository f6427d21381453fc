// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package entropy

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNormalised(t *testing.T) {
	for name, tc := range map[string]struct {
		counts []uint64
		want   float64
	}{
		"nothing":           {[]uint64{0, 0, 0, 0}, 0},
		"no classes":        {nil, 0},
		"one class":         {[]uint64{7}, 0},
		"all in one":        {[]uint64{0, 9, 0, 0}, 0},
		"even":              {[]uint64{5, 5, 5, 5}, 1},
		"half of them":      {[]uint64{3, 3, 0, 0}, 0.5},
		"a fair dyadic one": {[]uint64{4, 2, 1, 1}, 1.75 / 2},
		"large counts":      {[]uint64{1 << 40, 1 << 40}, 1},
	} {
		assert.InDelta(t, tc.want, Normalised(tc.counts), 1e-12, name)
	}
}

// The bias is as documented, to a tenth of it.
func TestTooFewObservationsAreToldTooSmall(t *testing.T) {
	const classes, observations, runs = 16, 200, 4000
	rng := rand.New(rand.NewPCG(1, 2))
	var sum float64
	for range runs {
		var counts [classes]uint64
		for range observations {
			counts[rng.IntN(classes)]++
		}
		sum += Normalised(counts[:])
	}
	bias := (classes - 1) / (2 * observations * math.Log(classes))
	assert.InDelta(t, bias, 1-sum/runs, bias/10)
}

func TestNormalisedDoesNotAllocate(t *testing.T) {
	counts := make([]uint64, 256)
	for i := range counts {
		counts[i] = uint64(i)
	}
	assert.Zero(t, testing.AllocsPerRun(10, func() { Normalised(counts) }))
}

func BenchmarkNormalised256(b *testing.B) {
	counts := make([]uint64, 256)
	for i := range counts {
		counts[i] = uint64(i + 1)
	}
	b.ReportAllocs()
	for b.Loop() {
		Normalised(counts)
	}
}
