// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/mathext"
)

// ridge is added to the diagonal of a covariance in units of correlation.
const ridge = 1e-2

// chiLimit is the Mahalanobis distance that independent Gaussian rows exceed
// once a week: the root of the χ² quantile at 1 − interval/week with one degree
// of freedom a dimension.
func chiLimit(s Setting) float64 {
	q := min(0.5, s.Interval/week)
	return math.Sqrt(2 * mathext.GammaIncRegCompInv(float64(len(s.Columns))/2, q))
}

// staticMahalanobis is the distance from the mean of the prefix in units of its
// covariance (Mahalanobis 1936): standardised, with a ridge.
type staticMahalanobis struct {
	scale  scale
	factor mat.Cholesky
	z      []float64
}

func newStaticMahalanobis(s Setting) Detector {
	return &limited{model: &staticMahalanobis{}, limit: chiLimit(s)}
}

func (d *staticMahalanobis) fit(rows [][]float64) {
	d.scale = newScale(rows)
	d.z = make([]float64, len(rows[0]))
	correlation := correlate(rows, d.scale)
	for j := range d.z {
		correlation.SetSym(j, j, correlation.At(j, j)+ridge)
	}
	d.factor.Factorize(correlation)
}

// correlate returns the covariance of standardised rows.
func correlate(rows [][]float64, s scale) *mat.SymDense {
	n := len(rows[0])
	z := mat.NewDense(len(rows), n, nil)
	for i, x := range rows {
		s.standardise(z.RawRowView(i), x)
	}
	var c mat.SymDense
	c.SymOuterK(1/float64(len(rows)), z.T())
	return &c
}

func (d *staticMahalanobis) score(x []float64) float64 {
	d.scale.standardise(d.z, x)
	return distance(&d.factor, d.z)
}

// distance is √(zᵀ A⁻¹ z).
func distance(a *mat.Cholesky, z []float64) float64 {
	v := mat.NewVecDense(len(z), z)
	var y mat.VecDense
	var poor mat.Condition // solved, if less exactly: the score stands
	if err := a.SolveVecTo(&y, v); err != nil && !errors.As(err, &poor) {
		return 0
	}
	return math.Sqrt(max(0, mat.Dot(v, &y)))
}

// onlineMahalanobis is the plain online form: mean and covariance forgotten
// exponentially (Welford's update with a constant weight), every row learned
// after it was scored, anomalous or not; standardised, with a ridge.
type onlineMahalanobis struct {
	decay, count float64
	n            int
	mean         []float64
	covariance   *mat.SymDense
	delta        []float64
	z            []float64
}

func newOnlineMahalanobis(s Setting) Detector {
	return &limited{model: &onlineMahalanobis{decay: decay(s)}, limit: chiLimit(s)}
}

func (d *onlineMahalanobis) fit(rows [][]float64) {
	d.n = len(rows[0])
	d.mean, d.delta, d.z = make([]float64, d.n), make([]float64, d.n), make([]float64, d.n)
	d.covariance = mat.NewSymDense(d.n, nil)
	for _, x := range rows {
		d.learn(x)
	}
}

func (d *onlineMahalanobis) learn(x []float64) {
	d.count = min(d.count+1, 1/d.decay)
	alpha := 1 / d.count
	for j, v := range x {
		d.delta[j] = v - d.mean[j]
		d.mean[j] += alpha * d.delta[j]
	}
	raw := d.covariance.RawSymmetric()
	for j := range d.n {
		row := raw.Data[j*raw.Stride : j*raw.Stride+d.n]
		f := alpha * d.delta[j]
		for k := j; k < d.n; k++ {
			row[k] = (1 - alpha) * (row[k] + f*d.delta[k])
		}
	}
}

func (d *onlineMahalanobis) score(x []float64) float64 {
	deviation := d.z // standard deviations, before they become z
	for j := range d.n {
		deviation[j] = math.Sqrt(d.covariance.At(j, j))
		if deviation[j] < flat {
			deviation[j] = 1
		}
	}
	correlation := mat.NewSymDense(d.n, nil)
	in, out := d.covariance.RawSymmetric(), correlation.RawSymmetric()
	for j := range d.n {
		from, to := in.Data[j*in.Stride:], out.Data[j*out.Stride:]
		for k := j; k < d.n; k++ {
			to[k] = from[k] / (deviation[j] * deviation[k])
		}
		to[j] += ridge
	}
	for j, v := range x {
		d.z[j] = (v - d.mean[j]) / deviation[j]
	}
	var factor mat.Cholesky
	var s float64
	if factor.Factorize(correlation) {
		s = distance(&factor, d.z)
	}
	d.learn(x)
	return s
}
