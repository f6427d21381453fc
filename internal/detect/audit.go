// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

// kurtosis follows Mardia's (1970) multivariate kurtosis of healthy decisions,
// the mean of D⁴, over p(p+2), which it is for a Gaussian of p dimensions; p is
// the mean of D², because floors and shrinkage leave fewer than there are.
type kurtosis struct{ d2, d4, count float64 }

func (k *kurtosis) learn(d2, decay float64) {
	k.count++
	a := max(decay, 1/k.count)
	k.d2 += a * (d2 - k.d2)
	k.d4 += a * (d2*d2 - k.d4)
}

func (k *kurtosis) ratio() float64 {
	if !(k.d2 > 0) {
		return 0
	}
	return k.d4 / (k.d2 * (k.d2 + 2))
}

// reservoir is a placeholder until written below.
type reservoir struct{}

func newReservoir(int) *reservoir        { return &reservoir{} }
func (r *reservoir) learn(x []float64) {}
