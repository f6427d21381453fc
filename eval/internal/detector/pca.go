// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// explained is the share of variance that the components kept explain.
const explained = 0.9

// residual is the length of what the principal components of the prefix leave
// of a standardised row, the root of the Q statistic (Jackson and Mudholkar
// 1979): it sees broken correlations, not large values along usual ones.
type residual struct {
	scale      scale
	components *mat.Dense // d × kept
	z          []float64
}

func newResidual(Setting) Detector {
	return &calibrated{fresh: func() model { return &residual{} }}
}

func (d *residual) fit(rows [][]float64) {
	d.scale = newScale(rows)
	n := len(rows[0])
	d.z = make([]float64, n)
	var eigen mat.EigenSym
	if !eigen.Factorize(correlate(rows, d.scale), true) {
		return
	}
	values := eigen.Values(nil) // rising
	var total float64
	for _, v := range values {
		total += max(v, 0)
	}
	kept, sum := 0, 0.0
	for kept < n && sum < explained*total {
		kept++
		sum += max(values[n-kept], 0)
	}
	if kept == 0 {
		return // nothing varies: all is residual
	}
	var vectors mat.Dense
	eigen.VectorsTo(&vectors)
	d.components = mat.DenseCopyOf(vectors.Slice(0, n, n-kept, n))
}

func (d *residual) score(x []float64) float64 {
	d.scale.standardise(d.z, x)
	z := mat.NewVecDense(len(d.z), d.z)
	q := mat.Dot(z, z)
	if d.components != nil {
		var along mat.VecDense
		along.MulVec(d.components.T(), z)
		q -= mat.Dot(&along, &along)
	}
	return math.Sqrt(max(0, q))
}
