// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// theory is the limit of a Mahalanobis distance that the theory of independent
// Gaussian observations gives for mean and covariance estimated from m of them:
// Hotelling's T² limit for a single future observation,
//
//	T² ≤ p (m+1)(m−1) / (m² − mp) · F(1−q; p, m−p)
//
// (Tracy, Young and Mason 1992; NIST/SEMATECH e-Handbook 6.5.4.3). Real metrics
// are neither independent nor Gaussian, so it is only the unit in which the
// empirical tail is measured, and a floor.
type theory struct {
	q     float64 // exceedance probability of one decision
	m     float64 // for which limit was computed
	p     float64
	limit float64
}

// at returns the limit for p effective dimensions known from m effective
// observations. It is recomputed when either has changed by a tenth, which
// moves it by a few per cent at most, so its cost vanishes with time.
func (t *theory) at(q, p, m float64) float64 {
	p = max(p, 1)
	// Near p observations the factor's pole makes the limit meaningless.
	m = max(m, p+10)
	if q == t.q && near(p, t.p) && near(m, t.m) {
		return t.limit
	}
	m = min(m, 1e6)
	t2 := p * (m + 1) * (m - 1) / (m*m - m*p) * upperF(q, p, m-p)
	t.q, t.p, t.m, t.limit = q, p, m, math.Sqrt(t2)
	return t.limit
}

// upperF is the value that an F-distributed quantity with d1 and d2 degrees of
// freedom exceeds with probability q. It bisects the upper tail itself,
// P(F > f) = I(d2/(d2 + d1 f); d2/2, d1/2), because quantiles of 1−q lose all
// precision at the q that a day at 10 Hz asks for.
func upperF(q, d1, d2 float64) float64 {
	lo, hi := 0.0, 20.0 // log f
	for range 50 {
		mid := (lo + hi) / 2
		if mathext.RegIncBeta(d2/2, d1/2, d2/(d2+d1*math.Exp(mid))) > q {
			lo = mid
		} else {
			hi = mid
		}
	}
	return math.Exp(hi)
}

func near(a, b float64) bool { return a < b*1.1 && a > b*0.9 }
