// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// cholesky is the factor L of a symmetric positive definite n×n matrix A = LLᵀ.
// Column k of L lies contiguously at l[k*n+k : k*n+n], which is the order in
// which every loop below walks it.
type cholesky struct {
	n int
	l []float64
}

func newCholesky(n int) cholesky { return cholesky{n: n, l: make([]float64, n*n)} }

// factorise sets c to the factor of the matrix whose lower triangle is a, with
// a's column k at a[k*n+k : k*n+n]. It reports false, and leaves c unusable, if
// a is not positive definite to working precision.
func (c *cholesky) factorise(a []float64) bool {
	n := c.n
	copy(c.l, a)
	for k := range n {
		col := c.l[k*n : k*n+n]
		pivot := col[k]
		if !(pivot > 0) || math.IsInf(pivot, 0) {
			return false
		}
		pivot = math.Sqrt(pivot)
		inv := 1 / pivot
		col[k] = pivot
		for i := k + 1; i < n; i++ {
			col[i] *= inv
		}
		for j := k + 1; j < n; j++ {
			f := col[j]
			if f == 0 {
				continue
			}
			right := c.l[j*n : j*n+n]
			for i := j; i < n; i++ {
				right[i] -= f * col[i]
			}
		}
	}
	return true
}

// update replaces A by s²A + xxᵀ in O(n²) (Gill, Golub, Murray and Saunders
// 1974, method C1). It starts at the first index from which x is not zero, and
// destroys x.
func (c *cholesky) update(s float64, x []float64, from int) {
	n := c.n
	if s != 1 {
		for k := range from {
			col := c.l[k*n : k*n+n]
			for i := k; i < n; i++ {
				col[i] *= s
			}
		}
	}
	for k := from; k < n; k++ {
		col := c.l[k*n : k*n+n]
		lkk := col[k] * s
		xk := x[k]
		r := math.Sqrt(lkk*lkk + xk*xk)
		inv := 1 / r
		cs, sn := lkk*inv, xk*inv
		col[k] = r
		scs := s * cs
		tail, xs := col[k+1:], x[k+1:n]
		xs = xs[:len(tail)]
		for i, l := range tail {
			xi := xs[i]
			tail[i] = scs*l + sn*xi
			xs[i] = cs*xi - sn*s*l
		}
	}
}

// whiten solves Lz = x in place and returns zᵀz = xᵀA⁻¹x.
func (c *cholesky) whiten(x []float64) float64 {
	n := c.n
	var norm float64
	for k := range n {
		col := c.l[k*n : k*n+n]
		z := x[k] / col[k]
		x[k] = z
		norm += z * z
		tail, xs := col[k+1:], x[k+1:n]
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
		col := c.l[k*n : k*n+n]
		sum := z[k]
		tail, zs := col[k+1:], z[k+1:n]
		zs = zs[:len(tail)]
		for i, l := range tail {
			sum -= l * zs[i]
		}
		z[k] = sum / col[k]
	}
}
