// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"math"
	"slices"
)

// Summary describes repeated measurements of one thing.
type Summary struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Q1     float64 `json:"q1"`
	Q3     float64 `json:"q3"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	// Low and High bound the true median: the narrowest pair of symmetric order
	// statistics that does so with 95 % confidence, or all there is where so few
	// values cannot (94 % with five).
	Low  float64 `json:"median_low"`
	High float64 `json:"median_high"`
}

// Summarise describes values; of none it is zero.
func Summarise(values []float64) Summary {
	n := len(values)
	if n == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	k := medianRank(n)
	return Summary{
		N:      n,
		Median: quantile(sorted, 0.5), Q1: quantile(sorted, 0.25), Q3: quantile(sorted, 0.75),
		Min: sorted[0], Max: sorted[n-1],
		Low: sorted[k], High: sorted[n-1-k],
	}
}

// quantile interpolates between order statistics (Hyndman and Fan 1996, type 7).
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	below := int(at)
	if below+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// medianRank is the largest k for which the k-th smallest and the k-th largest of
// n values, counted from 0, enclose the median with 95 % confidence: the number
// of values below the median is binomial with p = 1/2.
func medianRank(n int) int {
	tail, term := 0.0, math.Pow(0.5, float64(n))
	k := 0
	for i := 0; i < n/2; i++ {
		tail += term
		if 2*tail > 0.05 {
			break
		}
		k = i
		term *= float64(n-i) / float64(i+1)
	}
	return k
}

// losses returns 1 - with/without in percent, pair by pair.
func losses(without, with []float64) []float64 {
	out := make([]float64, 0, len(without))
	for i := range min(len(without), len(with)) {
		out = append(out, 100*(1-with[i]/without[i]))
	}
	return out
}

// turns says which runs of a series of pairs are with the thing measured: the
// order turns from pair to pair, so that a machine that slowly gets faster or
// slower favours neither.
func turns(pairs int) []bool {
	out := make([]bool, 0, 2*pairs)
	for i := range pairs {
		out = append(out, i%2 == 1, i%2 == 0)
	}
	return out
}

// noise is the median difference, in percent, of neighbouring runs of the same
// kind; 0 where there are none.
func noise(values []float64, kind []bool) float64 {
	var differences []float64
	for i := 1; i < len(values); i++ {
		if kind[i] == kind[i-1] {
			differences = append(differences, 100*math.Abs(1-values[i]/values[i-1]))
		}
	}
	return Summarise(differences).Median
}
