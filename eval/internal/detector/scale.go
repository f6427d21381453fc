// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import "math"

// flat is the standard deviation below which a dimension counts as constant.
const flat = 1e-6

// scale is mean and standard deviation of each dimension.
type scale struct{ mean, deviation []float64 }

// newScale computes it from rows. A dimension that is constant there is left at
// its own unit, deviation 1, as the common toolkits do.
func newScale(rows [][]float64) scale {
	n := len(rows[0])
	s := scale{mean: make([]float64, n), deviation: make([]float64, n)}
	for _, x := range rows {
		for j, v := range x {
			s.mean[j] += v / float64(len(rows))
		}
	}
	for _, x := range rows {
		for j, v := range x {
			d := v - s.mean[j]
			s.deviation[j] += d * d / float64(len(rows))
		}
	}
	for j, v := range s.deviation {
		s.deviation[j] = math.Sqrt(v)
		if s.deviation[j] < flat {
			s.deviation[j] = 1
		}
	}
	return s
}

// standardise sets z to (x − mean)/deviation.
func (s scale) standardise(z, x []float64) {
	for j, v := range x {
		z[j] = (v - s.mean[j]) / s.deviation[j]
	}
}
