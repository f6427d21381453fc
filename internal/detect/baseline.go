// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

const (
	// bootstrap is how many values of a dimension are averaged plainly before
	// the dimension takes part in scores.
	bootstrap = 30
	// refactorise is how many rank-1 updates may pass before the factor is
	// computed afresh from the covariance, which ends the drift of rounding and
	// of the ridge.
	refactorise = 512
	// shrinkage is the weight of the diagonal in the covariance used for scores
	// (Ledoit and Wolf 2004 estimate it; a constant is enough to keep nearly
	// collinear dimensions from dividing by nearly zero).
	shrinkage = 0.05
)

// Baseline is what normal has looked like: an exponentially forgotten mean and
// covariance, learned robustly. A deviation further out than a clip distance is
// learned as if it lay on it (Huber 1981, winsorised deviations), so that no
// single burst owns the covariance. The raw covariance C is kept beside the
// Cholesky factor of
//
//	Σ = (1−ρ) C + ρ diag(C) + diag(f²)
//
// with ρ the shrinkage and f the floors. The factor follows by one rank-1
// update an observation, one coordinate's share of the diagonal terms being
// injected again each time, and is computed afresh every 512.
//
// A dimension takes part once it has been present 30 times. A dimension that is
// missing now is left out of the score, which is then that of the remaining
// dimensions alone; it is learned as standing at its mean with its variance
// unchanged.
type Baseline struct {
	n       int
	mean    []float64
	cov     []float64 // lower triangle, column-major, without shrinkage or floors
	floor   []float64 // variances
	seen    []int32   // values averaged, up to bootstrap
	mature  int       // dimensions past bootstrap
	decay   float64   // weight of a new observation once the memory is full
	count   float64   // observations in memory
	factor  cholesky
	updates int // since the last factorisation
	inject  int // coordinate whose diagonal share is injected next

	previous []float64 // whitened deviation learned last
	lag, sq  float64   // running Σ zₜzₜ₋₁ and Σ zₜzₜ

	deviation []float64 // x − μ, 0 where missing
	precision []float64 // Σ⁻¹(x − μ)
	white     []float64
	scratch   []float64
	sub       cholesky // factor of the present part when something is missing
	subIndex  []int
	subMatrix []float64
	taking    []bool // dimensions that took part in the last Score
	present   int    // how many
	missing   bool   // a mature one did not
}

// NewBaseline returns an empty baseline of len(floors) dimensions; floors are
// standard deviations. decay is the weight of a new observation once the memory
// is full, 1 − 2^(−1/half-life).
func NewBaseline(floors []float64, decay float64) *Baseline {
	n := len(floors)
	vec := func() []float64 { return make([]float64, n) }
	b := &Baseline{
		n: n, mean: vec(), cov: make([]float64, n*n), floor: vec(), seen: make([]int32, n), decay: decay,
		factor: newCholesky(n), previous: vec(), deviation: vec(), precision: vec(), white: vec(), scratch: vec(),
		sub: newCholesky(n), subIndex: make([]int, 0, n), subMatrix: make([]float64, n*n), taking: make([]bool, n),
	}
	for j, f := range floors {
		b.floor[j] = f * f
	}
	b.Reset()
	return b
}

// Reset forgets everything.
func (b *Baseline) Reset() {
	clear(b.mean)
	clear(b.cov)
	clear(b.seen)
	clear(b.previous)
	b.mature, b.count, b.updates, b.inject, b.lag, b.sq, b.present = 0, 0, 0, 0, 0, 0, 0
	b.refactor()
}

// Mean returns the mean of dimension j.
func (b *Baseline) Mean(j int) float64 { return b.mean[j] }

// Deviation returns the standard deviation of dimension j as scores use it.
func (b *Baseline) Deviation(j int) float64 { return math.Sqrt(b.cov[j*b.n+j] + b.floor[j]) }

// Mature reports whether dimension j takes part in scores.
func (b *Baseline) Mature(j int) bool { return b.seen[j] >= bootstrap }

// Present is the number of dimensions that took part in the last Score.
func (b *Baseline) Present() int { return b.present }

// Autocorrelation is the average lag-1 autocorrelation of the whitened
// observations, between 0 and 0.98.
func (b *Baseline) Autocorrelation() float64 {
	if b.sq <= 0 {
		return 0
	}
	return max(0, min(0.98, b.lag/b.sq))
}

// Effective is the number of independent observations that the memory is worth:
// m (1−φ)/(1+φ) for observations with lag-1 autocorrelation φ.
func (b *Baseline) Effective() float64 {
	phi := b.Autocorrelation()
	return b.count * (1 - phi) / (1 + phi)
}

// Dimensions is the number of dimensions that the score is effectively made of:
// the mean of squared distances learned, which is tr(Σ⁻¹C). It is less than
// Present where floors exceed what really varies. It is at least 1.
func (b *Baseline) Dimensions() float64 {
	return max(1, min(b.sq, float64(b.present)))
}

// Score returns the squared Mahalanobis distance of x from the baseline, over
// the dimensions that are mature and present. Contribution and Learn refer to
// the last x scored.
func (b *Baseline) Score(x []float64) float64 {
	b.present, b.missing = 0, false
	for j, v := range x {
		b.deviation[j], b.taking[j] = 0, false
		if b.seen[j] < bootstrap {
			continue
		}
		if v-v != 0 {
			b.missing = true
			continue
		}
		b.deviation[j], b.taking[j] = v-b.mean[j], true
		b.present++
	}
	copy(b.white, b.deviation)
	if b.missing {
		return b.marginal(b.white, b.precision)
	}
	d2 := b.factor.whiten(b.white)
	copy(b.precision, b.white)
	b.factor.unwhiten(b.precision)
	return d2
}

// Distance2 returns vᵀΣ⁻¹v of a deviation v, over the dimensions present in the
// last Score; v is destroyed.
func (b *Baseline) Distance2(v []float64) float64 {
	if b.missing {
		return b.marginal(v, nil)
	}
	return b.factor.whiten(v)
}

// marginal scores d over the dimensions present alone, with a factor of just
// their part of Σ. It whitens d in place as far as it can and fills precision.
func (b *Baseline) marginal(d, precision []float64) float64 {
	idx := b.subIndex[:0]
	for j, taking := range b.taking {
		if taking {
			idx = append(idx, j)
		}
	}
	p := len(idx)
	sub := cholesky{n: p, l: b.sub.l[:p*p]}
	for k, j := range idx {
		for i := k; i < p; i++ {
			b.subMatrix[k*p+i] = b.sigma(idx[i], j)
		}
	}
	clear(precision)
	if p == 0 || !sub.factorise(b.subMatrix[:p*p]) {
		return 0
	}
	z := b.scratch[:p]
	for k, j := range idx {
		z[k] = d[j]
	}
	clear(d)
	d2 := sub.whiten(z)
	for k, j := range idx {
		d[j] = z[k]
	}
	if precision != nil {
		sub.unwhiten(z)
		for k, j := range idx {
			precision[j] = z[k]
		}
	}
	return d2
}

// Contribution returns c_j = d_j (Σ⁻¹d)_j of the last x scored. The
// contributions sum to the squared distance; one may be negative where a
// correlation explains the deviation away.
func (b *Baseline) Contribution(j int) float64 { return b.deviation[j] * b.precision[j] }

// Learn takes in the last x scored, whose squared distance was d2, as if it lay
// no further out than clip.
func (b *Baseline) Learn(x []float64, d2, clip float64) {
	if b.mature == 0 {
		b.grow(x)
		return
	}
	w := 1.0
	if d2 > clip*clip {
		w = clip / math.Sqrt(d2)
	}
	b.follow(w)
	b.count = min(b.count+1, 1/b.decay)
	alpha := 1 / b.count // ≥ decay

	diagonal := alpha
	step := math.Sqrt(alpha*(1-alpha)*(1-shrinkage)) * w
	keep := 1 - alpha
	gain := alpha * (1 - alpha) * w * w
	n := b.n
	for k := range n {
		dk := b.deviation[k]
		col := b.cov[k*n+k : k*n+n]
		tail := b.deviation[k:n]
		tail = tail[:len(col)]
		f := gain * dk
		for i, c := range col {
			col[i] = keep*c + f*tail[i]
		}
		b.mean[k] += alpha * w * dk
		b.scratch[k] = step * dk
	}
	b.factor.update(math.Sqrt(keep), b.scratch, 0)

	// What decayed off the diagonal: of the floors and the shrinkage target for
	// one coordinate in turn, n observations' worth; of a missing dimension, its
	// own variance.
	k := b.inject
	b.inject = (k + 1) % n
	b.add(k, float64(n)*diagonal*(b.floor[k]+shrinkage*b.cov[k*n+k]))
	if b.missing {
		for j, v := range x {
			if v-v != 0 && b.seen[j] >= bootstrap {
				lost := alpha / keep * b.cov[j*n+j]
				b.cov[j*n+j] += lost
				b.add(j, (1-shrinkage)*lost)
			}
		}
	}
	b.updates++
	if b.mature < n {
		b.grow(x)
	}
	// Early weights change much between updates, so the early factor is made
	// afresh more often.
	if b.updates >= refactorise || float64(b.updates) >= max(8, b.count/4) {
		b.refactor()
	}
}

// add adds variance to coordinate k of the factor.
func (b *Baseline) add(k int, variance float64) {
	if !(variance > 0) {
		return
	}
	clear(b.scratch[k:])
	b.scratch[k] = math.Sqrt(variance)
	b.factor.update(1, b.scratch, k)
}

// follow keeps the lag-1 autocorrelation of the whitened, clipped deviations.
func (b *Baseline) follow(w float64) {
	var lag, sq float64
	for j, z := range b.white {
		z *= w
		lag += z * b.previous[j]
		sq += z * z
		b.previous[j] = z
	}
	rate := max(b.decay, 1/(b.count+1))
	b.lag += rate * (lag - b.lag)
	b.sq += rate * (sq - b.sq)
}

// grow averages the dimensions that are still too young to be scored, and lets
// those that have come of age take part, uncorrelated at first.
func (b *Baseline) grow(x []float64) {
	n, grown := b.n, false
	for j, v := range x {
		if b.seen[j] >= bootstrap || v-v != 0 {
			continue
		}
		b.seen[j]++
		m := float64(b.seen[j])
		d := v - b.mean[j]
		b.mean[j] += d / m
		jj := j*n + j
		b.cov[jj] += (d*(v-b.mean[j]) - b.cov[jj]) / m
		if b.seen[j] == bootstrap {
			b.mature++
			grown = true
		}
	}
	if grown {
		b.count = max(b.count, bootstrap)
		b.refactor()
	}
}

// sigma is entry (i, j) of Σ, i ≥ j.
func (b *Baseline) sigma(i, j int) float64 {
	if i == j {
		return b.cov[j*b.n+j] + b.floor[j]
	}
	return (1 - shrinkage) * b.cov[j*b.n+i]
}

// refactor computes the factor afresh from the covariance.
func (b *Baseline) refactor() {
	n := b.n
	for j := range n {
		for i := j; i < n; i++ {
			b.subMatrix[j*n+i] = b.sigma(i, j)
		}
	}
	b.updates = 0
	if b.factor.factorise(b.subMatrix) {
		return
	}
	// Σ is positive definite by construction; only rounding at absurd scales
	// leads here. The diagonal alone is always usable.
	for j := range n {
		for i := j + 1; i < n; i++ {
			b.subMatrix[j*n+i], b.cov[j*n+i] = 0, 0
		}
	}
	b.factor.factorise(b.subMatrix)
}
