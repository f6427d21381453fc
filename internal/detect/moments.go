// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// moments are mean and covariance of the last few minutes, whatever happened in
// them: not robust, never frozen, and never judged against.
type moments struct {
	n     int
	mean  []float64
	cov   []float64 // lower triangle, column-major
	d     []float64
	seen  []bool // present since the reset
	count float64
	most  float64 // observations remembered
}

func newMoments(n int) moments {
	return moments{n: n, mean: make([]float64, n), cov: make([]float64, n*n), d: make([]float64, n), seen: make([]bool, n)}
}

func (m *moments) reset() {
	clear(m.mean)
	clear(m.cov)
	clear(m.seen)
	m.count = 0
}

// learn takes in x; a missing coordinate stands at its mean.
func (m *moments) learn(x []float64) {
	m.count = min(m.count+1, m.most)
	alpha := 1 / m.count
	n := m.n
	for j, v := range x {
		d := v - m.mean[j]
		if d-d != 0 {
			d = 0
		} else if !m.seen[j] {
			m.seen[j], m.mean[j], d = true, v, 0
		}
		m.d[j] = d
		m.mean[j] += alpha * d
	}
	keep, gain := 1-alpha, alpha*(1-alpha)
	for k, dk := range m.d {
		f := gain * dk
		col, tail := m.cov[k*n+k:k*n+n], m.d[k:]
		tail = tail[:len(col)]
		for i, c := range col {
			col[i] = keep*c + f*tail[i]
		}
	}
}

// deformation is ρ = ‖Σ_recent − Σ_base‖ / ‖Σ_base‖ in Frobenius norms, both in
// units of b's standard deviations, over what was present since the reset.
func (m *moments) deformation(b *Baseline) float64 {
	n := m.n
	var diff, base float64
	for j := range n {
		if !b.Mature(j) || !m.seen[j] {
			continue
		}
		for i := j; i < n; i++ {
			if !b.Mature(i) || !m.seen[i] {
				continue
			}
			w := b.inverse[i] * b.inverse[j]
			d, c := (m.cov[j*n+i]-b.cov[j*n+i])*w, b.cov[j*n+i]*w
			f := 2.0
			if i == j {
				f = 1
			}
			diff += f * d * d
			base += f * c * c
		}
	}
	if !(base > 0) {
		return 0
	}
	return min(math.Sqrt(diff/base), greatest)
}
