// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat/distuv"
)

// kurtosis follows Mardia's (1970) multivariate kurtosis of healthy decisions,
// the mean of D⁴, over p(p+2), which it is for a Gaussian of p dimensions; p is
// the mean of D², because floors and shrinkage leave fewer than there are.
type kurtosis struct{ d2, d4, count float64 }

func (k *kurtosis) learn(d2, decay float64) {
	k.count++
	a := max(decay, 1/k.count)
	d2 = min(d2, 1e12)
	k.d2 += a * (d2 - k.d2)
	k.d4 += a * (d2*d2 - k.d4)
}

func (k *kurtosis) ratio() float64 {
	if !(k.d2 > 0) {
		return 0
	}
	return k.d4 / (k.d2 * (k.d2 + 2))
}

// reserved is how many healthy vectors a reservoir holds.
const reserved = 192

// reservoir is a uniform sample of the healthy vectors of about the fast
// baseline's memory (Vitter 1985, algorithm R, with a window).
type reservoir struct {
	n    int
	x    []float32 // reserved × n
	rows int
	seen int
	rng  *rand.Rand
}

func newReservoir(n int) *reservoir {
	return &reservoir{n: n, x: make([]float32, reserved*n), rng: rand.New(rand.NewPCG(1, 2))}
}

// learn takes in x; memory is how many decisions the sample looks back on.
func (r *reservoir) learn(x []float64, memory int) {
	r.seen = min(r.seen+1, max(memory, reserved))
	k := r.rows
	if r.rows < reserved {
		r.rows++
	} else if k = r.rng.IntN(r.seen); k >= reserved {
		return
	}
	row := r.x[k*r.n : (k+1)*r.n]
	for j, v := range x {
		row[j] = float32(v)
	}
}

// Audit is a robust second look at a baseline: what the minimum covariance
// determinant of a sample of healthy vectors says, beside what the online factor
// says. It is made on a copy, so that it may run beside the detector's goroutine
// and take its time.
type Audit struct {
	n       int
	x       []float64 // rows × n, in the online baseline's σ, centred on it
	rows    int
	online  *mat.SymDense
	rng     *rand.Rand
	mature  []int
	floor   []float64 // what floors add to the online variances, as a share of them
	version uint64
}

// TakeAudit copies what an audit needs into a, or reports that there is not
// enough yet. It does not run the audit.
func (d *Detector) TakeAudit(a *Audit) bool {
	b, r := d.fast.base, d.reservoir
	if r == nil || b.mature == 0 || r.rows < reserved || 4*b.mature > reserved {
		return false
	}
	a.mature, a.floor = a.mature[:0], a.floor[:0]
	for j := range b.n {
		if b.Mature(j) {
			a.mature = append(a.mature, j)
			a.floor = append(a.floor, max(0, 1-b.cov[j*b.n+j]*b.inverse[j]*b.inverse[j]))
		}
	}
	n := len(a.mature)
	a.n, a.rows, a.version = n, 0, b.version
	a.x = slices.Grow(a.x[:0], reserved*n)[:reserved*n]
	for k := range r.rows {
		row := a.x[a.rows*n : (a.rows+1)*n]
		whole := true
		for i, j := range a.mature {
			row[i] = (float64(r.x[k*r.n+j]) - b.mean[j]) * b.inverse[j]
			whole = whole && row[i] == row[i]
		}
		if whole {
			a.rows++
		}
	}
	if a.rows < 4*n || a.rows < 32 {
		return false // fewer than the determinant of half of them needs
	}
	a.online = mat.NewSymDense(n, nil)
	for i := range n {
		for k := i; k < n; k++ {
			gi, gk := a.mature[i], a.mature[k]
			r := (1 - b.shrinkage) * b.cov[gi*b.n+gk] * b.inverse[gi] * b.inverse[gk]
			if i == k {
				r = 1
			}
			a.online.SetSym(i, k, r)
		}
	}
	a.rng = rand.New(rand.NewPCG(a.version, 3))
	return true
}

// Disagreement runs the audit: the root mean square, over the generalised
// eigenvalues λ of the robust against the online covariance, of log λ. 0 is
// agreement; 0.7 is a factor of two in variance in the typical direction. The
// robust covariance is the reweighted FAST-MCD of Rousseeuw and Van Driessen
// (1999) with h = ¾ of the rows, ten starts and two C-steps each before the best
// converges, with the online floors added to its diagonal by shrinking towards
// the online matrix as strongly as 4n rows of it would.
func (a *Audit) Disagreement() float64 {
	n, h := a.n, a.rows*3/4
	best := math.Inf(1)
	var chosen []int
	for range 10 {
		subset := a.rng.Perm(a.rows)[:n+1]
		for range 2 {
			subset, _ = a.concentrate(subset, h)
		}
		if _, det := a.concentrate(subset, h); det < best {
			best, chosen = det, subset
		}
	}
	for range 20 {
		next, _ := a.concentrate(chosen, h)
		if slices.Equal(next, chosen) {
			break
		}
		chosen = next
	}
	mean, cov := a.moments(chosen)
	// Consistent at the Gaussian for a share of h/rows (Croux and Haesbroeck 1999).
	alpha := float64(h) / float64(a.rows)
	q := distuv.ChiSquared{K: float64(n)}.Quantile(alpha)
	cov.ScaleSym(alpha/distuv.ChiSquared{K: float64(n) + 2}.CDF(q), cov)
	// Reweighted: all rows within the 97.5 % quantile.
	if d2, _, ok := a.distances(mean, cov); ok {
		cut := distuv.ChiSquared{K: float64(n)}.Quantile(0.975)
		kept := chosen[:0:0]
		for k, v := range d2 {
			if v <= cut {
				kept = append(kept, k)
			}
		}
		if len(kept) > n+1 {
			_, cov = a.moments(kept)
		}
	}
	for i := range n {
		cov.SetSym(i, i, cov.At(i, i)+a.floor[i])
	}
	mixed := mat.NewSymDense(n, nil)
	w := float64(4*n) / float64(4*n+a.rows)
	for i := range n {
		for k := i; k < n; k++ {
			mixed.SetSym(i, k, (1-w)*cov.At(i, k)+w*a.online.At(i, k))
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(a.online) {
		return 0
	}
	// λ of L⁻¹ M L⁻ᵀ.
	var l mat.TriDense
	chol.LTo(&l)
	var half, whole mat.Dense
	if half.Solve(&l, mixed) != nil || whole.Solve(&l, half.T()) != nil {
		return 0
	}
	symmetric := mat.NewSymDense(n, nil)
	for i := range n {
		for k := i; k < n; k++ {
			symmetric.SetSym(i, k, (whole.At(i, k)+whole.At(k, i))/2)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(symmetric, false) {
		return 0
	}
	var sum float64
	for _, v := range eigen.Values(nil) {
		l := math.Log(max(v, 1e-12))
		sum += l * l
	}
	return math.Sqrt(sum / float64(n))
}

// concentrate is one C-step: the h rows nearest to the moments of subset, and
// the log determinant of subset's covariance.
func (a *Audit) concentrate(subset []int, h int) (nearest []int, logDet float64) {
	mean, cov := a.moments(subset)
	d2, logDet, ok := a.distances(mean, cov)
	if !ok {
		return subset, math.Inf(1)
	}
	order := make([]int, a.rows)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, k int) int {
		if d2[i] < d2[k] {
			return -1
		} else if d2[i] > d2[k] {
			return 1
		}
		return i - k
	})
	order = order[:h]
	slices.Sort(order)
	return order, logDet
}

// moments are mean and covariance of the rows in subset, with a ridge that keeps
// constant dimensions from dividing by zero.
func (a *Audit) moments(subset []int) ([]float64, *mat.SymDense) {
	n := a.n
	mean := make([]float64, n)
	for _, k := range subset {
		for j := range n {
			mean[j] += a.x[k*n+j] / float64(len(subset))
		}
	}
	cov := mat.NewSymDense(n, nil)
	for _, k := range subset {
		row := a.x[k*n : (k+1)*n]
		for i := range n {
			di := (row[i] - mean[i]) / float64(len(subset))
			for j := i; j < n; j++ {
				cov.SetSym(i, j, cov.At(i, j)+di*(row[j]-mean[j]))
			}
		}
	}
	for i := range n {
		cov.SetSym(i, i, cov.At(i, i)+1e-4)
	}
	return mean, cov
}

// distances are the squared distances of all rows, and the log determinant.
func (a *Audit) distances(mean []float64, cov *mat.SymDense) (d2 []float64, logDet float64, ok bool) {
	var chol mat.Cholesky
	if !chol.Factorize(cov) {
		return nil, 0, false
	}
	d2 = make([]float64, a.rows)
	d, y := mat.NewVecDense(a.n, nil), mat.NewVecDense(a.n, nil)
	for k := range a.rows {
		for j := range a.n {
			d.SetVec(j, a.x[k*a.n+j]-mean[j])
		}
		if chol.SolveVecTo(y, d) != nil {
			return nil, 0, false
		}
		d2[k] = mat.Dot(d, y)
	}
	return d2, chol.LogDet(), true
}
