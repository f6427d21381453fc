// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// cholesky is the factor L of a symmetric positive definite n×n matrix A = LLᵀ.
// Column k of L lies contiguously at l[k*n+k : k*n+n], which is the order in
// which every loop below walks it. inverse holds 1/L_kk, because a
// multiplication is an order of magnitude cheaper than a division.
type cholesky struct {
	n       int
	l       []float64
	inverse []float64
}

func newCholesky(n int) cholesky {
	return cholesky{n: n, l: make([]float64, n*n), inverse: make([]float64, n)}
}

// factorise sets c to the factor of the matrix whose lower triangle is a, with
// a's column k at a[k*n+k : k*n+n] (Golub and Van Loan 2013, algorithm 4.2.1, by
// columns). It takes n³/6 multiplications. It reports false, and leaves c
// unusable, if a is not positive definite to working precision.
func (c *cholesky) factorise(a []float64) bool {
	n := c.n
	copy(c.l, a[:n*n])
	for k := range n {
		col := c.l[k*n : k*n+n]
		pivot := col[k]
		if !(pivot > 0) || math.IsInf(pivot, 0) {
			return false
		}
		pivot = math.Sqrt(pivot)
		inv := 1 / pivot
		col[k], c.inverse[k] = pivot, inv
		for i := k + 1; i < n; i++ {
			col[i] *= inv
		}
		for j := k + 1; j < n; j++ {
			f := col[j]
			if f == 0 {
				continue
			}
			source := col[j:n]
			right := c.l[j*n+j : j*n+n]
			right = right[:len(source)]
			for i, v := range source {
				right[i] -= f * v
			}
		}
	}
	return true
}

// whiten solves Lz = x in place and returns zᵀz = xᵀA⁻¹x.
func (c *cholesky) whiten(x []float64) float64 {
	n := c.n
	x = x[:n]
	var norm float64
	for k, inv := range c.inverse[:n] {
		z := x[k] * inv
		x[k] = z
		norm += z * z
		tail, xs := c.l[k*n+k+1:k*n+n], x[k+1:]
		xs = xs[:len(tail)]
		for i, l := range tail {
			xs[i] -= l * z
		}
	}
	return norm
}

// unwhiten solves Lᵀy = z in place, so that whiten then unwhiten gives A⁻¹x.
func (c *cholesky) unwhiten(z []float64) {
	n := c.n
	for k := n - 1; k >= 0; k-- {
		tail, zs := c.l[k*n+k+1:k*n+n], z[k+1:n]
		zs = zs[:len(tail)]
		// Two sums, so that one addition need not wait for the last.
		even, odd := z[k], 0.0
		i := 0
		for ; i+1 < len(tail); i += 2 {
			even -= tail[i] * zs[i]
			odd -= tail[i+1] * zs[i+1]
		}
		if i < len(tail) {
			even -= tail[i] * zs[i]
		}
		z[k] = (even + odd) * c.inverse[k]
	}
}
