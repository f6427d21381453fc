// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"
)

// definite draws a symmetric positive definite matrix, column-major lower, and
// the same for gonum.
func definite(t *rapid.T, n int) ([]float64, *mat.SymDense) {
	draw := rapid.Float64Range(-3, 3)
	g := mat.NewDense(n, n, nil)
	for i := range n {
		for j := range n {
			g.Set(i, j, draw.Draw(t, "g"))
		}
	}
	var product mat.Dense
	product.Mul(g, g.T())
	a, sym := make([]float64, n*n), mat.NewSymDense(n, nil)
	for j := range n {
		for i := j; i < n; i++ {
			v := product.At(i, j)
			if i == j {
				v += 0.5
			}
			a[j*n+i] = v
			sym.SetSym(i, j, v)
		}
	}
	return a, sym
}

func TestFactorAgreesWithGonum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		a, sym := definite(t, n)
		c := newCholesky(n)
		require.True(t, c.factorise(a))
		var want mat.Cholesky
		require.True(t, want.Factorize(sym))
		var l mat.TriDense
		want.LTo(&l)
		for j := range n {
			for i := j; i < n; i++ {
				assert.InDelta(t, l.At(i, j), c.l[j*n+i], 1e-8)
			}
			assert.InEpsilon(t, 1/l.At(j, j), c.inverse[j], 1e-8)
		}

		x := rapid.SliceOfN(rapid.Float64Range(-5, 5), n, n).Draw(t, "x")
		var solved mat.VecDense
		require.NoError(t, want.SolveVecTo(&solved, mat.NewVecDense(n, slices.Clone(x))))
		d2 := mat.Dot(mat.NewVecDense(n, x), &solved)
		z := slices.Clone(x)
		assert.InEpsilon(t, d2+1, c.whiten(z)+1, 1e-8)
		c.unwhiten(z)
		for i := range z {
			assert.InDelta(t, solved.AtVec(i), z[i], 1e-7*(1+d2))
		}
	})
}

func TestAMatrixThatIsNotDefiniteIsRefused(t *testing.T) {
	for name, a := range map[string][]float64{
		"indefinite":      {1, 2, 0, 1},
		"zero":            {0, 0, 0, 1},
		"singular":        {1, 1, 0, 1},
		"negative":        {-1, 0, 0, 1},
		"not a number":    {math.NaN(), 0, 0, 1},
		"infinite":        {math.Inf(1), 0, 0, 1},
		"not a number in": {1, math.NaN(), 0, 1},
	} {
		c := newCholesky(2)
		assert.False(t, c.factorise(a), name)
	}
}
