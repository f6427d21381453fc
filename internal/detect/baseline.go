// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

const (
	// bootstrap is how many values of a dimension are learned before it takes
	// part in scores.
	bootstrap = 20
	// ridge is the least weight of the identity in the correlation matrix that
	// scores use, however many observations there are: it bounds what a nearly
	// collinear pair of dimensions can contribute.
	ridge = 0.005
	// immaturity is κ in the inflation 1 + κ/m of the variance of a dimension
	// known from m effective observations. The variance of a slowly wandering
	// quantity is underestimated from a window it has not crossed several times.
	immaturity = 1
	// relative is the least standard deviation of a dimension with no floor of
	// its own, as a share of the largest magnitude it has shown.
	relative = 0.01
)

// Baseline is what normal has looked like: an exponentially forgotten mean and
// covariance in Welford's form (Welford 1962; West 1979 for weights), learned
// robustly: a deviation further out than a clip distance is learned as if it
// lay on it (Huber 1981, winsorised deviations), so that no single burst owns
// the covariance. Beside the raw covariance C stands the Cholesky factor of the
// correlation matrix that scores use,
//
//	R = (1−ρ) corr(C) + ρ I,   σ²_j = C_jj (1 + κ/m_j) + f_j²
//
// with f the floors, m_j the effective observations of dimension j and ρ the
// oracle-approximating shrinkage of Chen, Wiesel, Eldar and Hero (2010, eq. 23)
// for as many effective observations. The factor is computed afresh every
// [Baseline.stride] observations: n³/6 operations every n observations cost a
// sixth of what a rank-1 update of the factor at each would, and nothing
// drifts.
//
// A dimension takes part once it has been present 20 times. A dimension that is
// missing now is left out of the score, which is then that of the remaining
// dimensions alone; it is learned as standing at its mean with its variance
// unchanged.
type Baseline struct {
	n       int
	mean    []float64
	cov     []float64 // lower triangle, column-major, without shrinkage or floors
	floor   []float64 // variances; 0: relative to the largest magnitude
	knee    []float64 // deviations in σ beyond which they count logarithmically
	winsor  []float64 // deviations in σ beyond which they are learned as if they lay there
	largest []float64 // magnitude learned
	seen    []int32   // values learned, up to bootstrap
	mature  int       // dimensions past bootstrap
	decay   float64   // weight of a new observation once the memory is full
	count   float64   // observations in memory
	total   float64   // observations ever

	factor    cholesky
	inverse   []float64 // 1/σ_j
	updates   int       // since the last factorisation
	version   uint64    // of the factor
	shrinkage float64   // in force
	phi       float64   // mean autocorrelation, in force
	// independent is how many independent observations the memory is worth for
	// covariances: m (1−φ²)/(1+φ²) (Bartlett 1946).
	independent float64

	previous []float64 // deviations learned last, in σ
	lag, sq  []float64 // running Σ uₜuₜ₋₁ and Σ u² of each dimension

	deviation []float64 // of the last x scored, in σ, bent at the knee, 0 where missing
	white     []float64
	precision []float64 // R⁻¹ deviation, after explain
	taking    []bool    // dimensions that took part
	present   int       // how many
	missing   bool      // a mature one did not
	known     float64   // factor on the distance for what is not known yet

	primer    *primer // until the warm-up is over
	estimates int     // of the primer
	marginal  marginal
	matrix    []float64 // scratch
	scaled    []float64 // scratch
}

// NewBaseline returns an empty baseline of dims. decay is the weight of a new
// observation once the memory is full, 1 − 2^(−1/half-life).
func NewBaseline(dims []Dimension, decay float64) *Baseline {
	n := len(dims)
	vec := func() []float64 { return make([]float64, n) }
	b := &Baseline{
		n: n, decay: decay,
		mean: vec(), cov: make([]float64, n*n), floor: vec(), knee: vec(), winsor: vec(), largest: vec(), seen: make([]int32, n),
		factor: newCholesky(n), inverse: vec(), previous: vec(), lag: vec(), sq: vec(),
		deviation: vec(), white: vec(), precision: vec(), taking: make([]bool, n),
		marginal: marginal{factor: newCholesky(n), index: make([]int, 0, n), mask: make([]bool, n), z: vec()},
		matrix:   make([]float64, n*n), scaled: vec(),
	}
	for j := range dims {
		d := dims[j].withDefaults()
		b.floor[j], b.knee[j], b.winsor[j] = d.Floor*d.Floor, d.knee(), math.Inf(1)
		if d.Transform != Learned {
			b.winsor[j] = winsorised
		}
	}
	b.Reset()
	return b
}

// Reset forgets everything.
func (b *Baseline) Reset() {
	for _, v := range [][]float64{b.mean, b.cov, b.largest, b.previous, b.lag, b.sq} {
		clear(v)
	}
	clear(b.seen)
	b.mature, b.count, b.total, b.present = 0, 0, 0, 0
	b.primer = newPrimer(b.n)
	b.refactor()
}

// CopyFrom makes b the same as o, of the same dimensions, but for its decay.
func (b *Baseline) CopyFrom(o *Baseline) {
	copy(b.mean, o.mean)
	copy(b.cov, o.cov)
	copy(b.largest, o.largest)
	copy(b.seen, o.seen)
	copy(b.previous, o.previous)
	copy(b.lag, o.lag)
	copy(b.sq, o.sq)
	b.mature, b.count, b.total = o.mature, o.count, o.total
	b.primer = nil // what it kept is older than the copy
	b.refactor()
}

// Mean returns the mean of dimension j.
func (b *Baseline) Mean(j int) float64 { return b.mean[j] }

// Deviation returns the standard deviation of dimension j as scores use it.
func (b *Baseline) Deviation(j int) float64 { return 1 / b.inverse[j] }

// Mature reports whether dimension j takes part in scores.
func (b *Baseline) Mature(j int) bool { return b.seen[j] >= bootstrap }

// Present is the number of dimensions that took part in the last Score.
func (b *Baseline) Present() int { return b.present }

// autocorrelation is the lag-1 autocorrelation of dimension j, 0 to 0.9999.
func (b *Baseline) autocorrelation(j int) float64 {
	if b.sq[j] <= 0 {
		return 0
	}
	return max(0, min(0.99, b.lag[j]/b.sq[j]))
}

// Autocorrelation is the mean lag-1 autocorrelation over the mature dimensions,
// as of the last factorisation.
func (b *Baseline) Autocorrelation() float64 { return b.phi }

// Effective is the number of independent observations that the memory is worth
// for means: m (1−φ)/(1+φ) for a lag-1 autocorrelation φ (Bartlett 1946).
func (b *Baseline) Effective() float64 {
	phi := b.Autocorrelation()
	return b.count * (1 - phi) / (1 + phi)
}

// Score returns the squared Mahalanobis distance of x from the baseline, over
// the dimensions that are mature and present. Contribution refers to the last x
// scored.
func (b *Baseline) Score(x []float64) float64 { return b.scoreFrom(x, b.mean) }

// scoreFrom is Score with another centre.
func (b *Baseline) scoreFrom(x, centre []float64) float64 {
	b.deviate(x, centre)
	white := b.white[:copy(b.white, b.deviation)]
	d2 := 0.0
	if b.missing {
		d2 = b.marginal.whiten(b)
	} else {
		d2 = b.factor.whiten(white)
	}
	// What a mean and a covariance estimated from so few observations add to the
	// distance of a new one (Hotelling's T² for a future observation; Tracy, Young
	// and Mason 1992),
	// to first order; shrinkage takes its share away.
	b.known = math.Sqrt(1 / (1 + (1+(1-b.shrinkage)*float64(b.present))/max(b.independent, 1)))
	for j := range white {
		white[j] *= b.known
	}
	return d2 * b.known * b.known
}

// deviate computes the deviations of x from a centre, and what takes part.
func (b *Baseline) deviate(x, centre []float64) {
	b.present, b.missing = 0, false
	centre, inverse, knee := centre[:len(x)], b.inverse[:len(x)], b.knee[:len(x)]
	deviation, taking, seen := b.deviation[:len(x)], b.taking[:len(x)], b.seen[:len(x)]
	for j, v := range x {
		u := (v - centre[j]) * inverse[j]
		if seen[j] < bootstrap || u-u != 0 {
			b.missing = b.missing || seen[j] >= bootstrap
			deviation[j], taking[j] = 0, false
			continue
		}
		if u > knee[j] || u < -knee[j] {
			u = b.bend(j, u)
		}
		deviation[j], taking[j] = u, true
		b.present++
	}
}

// winsorised is the deviation in σ beyond which a transformed dimension is
// learned as if it lay there; a learned one is bent already.
const winsorised = 3

// unheard is the deviation in σ that a dimension with a knee counts at most. One
// that has always been zero has no σ to speak of, and takes it from the first
// value that is not.
const unheard = 1e4

// bend makes the deviation u of dimension j, which lies beyond the knee, count
// logarithmically.
func (b *Baseline) bend(j int, u float64) float64 {
	a := math.Abs(u)
	if a > unheard {
		if b.largest[j] == 0 && b.floor[j] == 0 {
			b.inverse[j] *= unheard / a // until the next factorisation
		}
		a = unheard
	}
	return math.Copysign(b.knee[j]*(1+math.Log(a/b.knee[j])), u)
}

// explain fills precision, from which contributions come.
func (b *Baseline) explain() {
	if b.missing {
		b.marginal.unwhiten(b)
		return
	}
	copy(b.precision, b.white)
	b.factor.unwhiten(b.precision)
	for j := range b.precision {
		b.precision[j] *= b.known
	}
}

// Contribution returns c_j = u_j (R⁻¹u)_j of the last x scored and explained,
// with u the deviations in σ. The contributions sum to the squared distance; one
// may be negative where a correlation explains the deviation away.
func (b *Baseline) Contribution(j int) float64 { return b.deviation[j] * b.precision[j] }

// Learn takes in x with weight w ≤ 1 on its deviation: clip/D where D lies beyond
// a clip distance. share ≤ 1 is how much of an observation it counts as. What was
// scored last is forgotten.
func (b *Baseline) Learn(x []float64, w, share float64) {
	if b.primer != nil && b.primer.keep(x) {
		b.primer.estimate(b)
		b.count, b.total = max(b.count, bootstrap), b.total+1
		return
	}
	if b.mature == 0 && b.primer != nil {
		b.total++
		return
	}
	b.deviate(x, b.mean)
	b.count = min(b.count+share, 1/b.decay)
	b.total += share
	alpha := share / b.count // ≥ share · decay
	rate := alpha
	n := b.n
	d := b.scaled[:n]
	for j, u := range b.deviation {
		lag, sq := u*b.previous[j]-b.lag[j], u*u-b.sq[j]
		if !b.taking[j] {
			lag, sq = 0, 0
		}
		b.lag[j] += rate * lag
		b.sq[j] += rate * sq
		b.previous[j] = u
		if u > b.winsor[j] {
			u = b.winsor[j]
		} else if u < -b.winsor[j] {
			u = -b.winsor[j]
		}
		dj := u / b.inverse[j] * w
		d[j] = dj
		b.mean[j] += alpha * dj
		b.largest[j] = max(b.largest[j]*(1-alpha/8), math.Abs(b.mean[j]+dj))
	}
	keep, gain := 1-alpha, alpha*(1-alpha)
	for k, dk := range d {
		f := gain * dk
		col, tail := b.cov[k*n+k:k*n+n], d[k:]
		tail = tail[:len(col)]
		for i, c := range col {
			col[i] = keep*c + f*tail[i]
		}
	}
	if b.missing || b.mature < n {
		b.grow(x, alpha)
	}
	b.updates++
	if b.updates >= b.stride() {
		b.refactor()
	}
}

// stride is how many observations may pass between factorisations: an eighth of
// those in memory while it fills, then as many as there are dimensions, at least
// 16.
func (b *Baseline) stride() int {
	return min(max(b.n, 16), max(1, int(b.count/8)))
}

// forget makes dimension j one that has never been seen.
func (b *Baseline) forget(j int) {
	b.seen[j], b.mean[j], b.largest[j], b.lag[j], b.sq[j], b.previous[j] = 0, 0, 0, 0, 0, 0
	for i := range b.n {
		b.cov[min(i, j)*b.n+max(i, j)] = 0
	}
}

// grow averages the dimensions that are too young to be scored, lets those that
// have come of age take part, uncorrelated at first, and restores to a missing
// one the variance that it lost to forgetting.
func (b *Baseline) grow(x []float64, alpha float64) {
	n, grown := b.n, false
	for j, v := range x {
		absent := v-v != 0
		if b.seen[j] >= bootstrap {
			if absent {
				b.cov[j*n+j] /= 1 - alpha
			}
			continue
		}
		if absent {
			continue
		}
		b.seen[j]++
		m := float64(b.seen[j])
		d := v - b.mean[j]
		b.mean[j] += d / m
		b.cov[j*n+j] += (d*(v-b.mean[j]) - b.cov[j*n+j]) / m
		b.largest[j] = max(b.largest[j], math.Abs(v))
		if b.seen[j] == bootstrap {
			b.mature++
			grown = true
		}
	}
	if grown {
		b.refactor()
	}
}

// variance is σ_j² as scores use it.
func (b *Baseline) variance(j int) float64 {
	phi := min(b.autocorrelation(j), 0.95)
	m := b.count * (1 - phi) / (1 + phi)
	v := b.cov[j*b.n+j] * (1 + immaturity/(m+1e-3))
	if b.floor[j] > 0 {
		return v + b.floor[j]
	}
	f := relative * b.largest[j]
	return max(v+f*f, 1e-280)
}

// refactor computes σ, the shrinkage and the factor afresh.
func (b *Baseline) refactor() {
	n := b.n
	b.updates = 0
	b.version++
	var phi, phi2 float64
	for j := range n {
		b.inverse[j] = 1 / math.Sqrt(b.variance(j))
		if p := b.autocorrelation(j); b.Mature(j) {
			phi += p
			phi2 += p * p
		}
	}
	mature := float64(max(b.mature, 1))
	b.phi = phi / mature
	phi2 /= mature
	// Correlations; their squared Frobenius norm is tr(S²).
	frobenius := mature
	for j := range n {
		col := b.matrix[j*n : j*n+n]
		ij := b.inverse[j]
		for i := j + 1; i < n; i++ {
			r := b.cov[j*n+i] * ij * b.inverse[i]
			col[i] = r
			frobenius += 2 * r * r
		}
	}
	b.independent = b.count * (1 - phi2) / (1 + phi2)
	b.shrinkage = oas(mature, frobenius, b.independent)
	for j := range n {
		col := b.matrix[j*n : j*n+n]
		for i := j + 1; i < n; i++ {
			col[i] *= 1 - b.shrinkage
		}
		col[j] = 1
	}
	if b.factor.factorise(b.matrix) {
		return
	}
	// R is positive definite by construction; only rounding at absurd scales
	// leads here. The diagonal alone is always usable.
	clear(b.matrix)
	clear(b.cov[:])
	for j := range n {
		b.matrix[j*n+j] = 1
		b.cov[j*n+j] = 1 / (b.inverse[j] * b.inverse[j])
	}
	b.factor.factorise(b.matrix)
}

// oas is the oracle-approximating shrinkage intensity towards the identity of a
// p×p correlation matrix with squared Frobenius norm f estimated from m
// independent observations (Chen, Wiesel, Eldar and Hero 2010, eq. 23, with
// tr S = p), and at least ridge.
func oas(p, f, m float64) float64 {
	if !(f > p) {
		return 1
	}
	rho := ((1-2/p)*f + p*p) / ((m + 1 - 2/p) * (f - p))
	return max(ridge, min(1, rho))
}

// marginal is the factor of the part of R that belongs to the dimensions that
// are present. It is kept until R or the set changes, so that a dimension that
// vanished for good costs one factorisation a stride.
type marginal struct {
	factor  cholesky
	index   []int
	mask    []bool
	version uint64
	z       []float64
}

// whiten scores b's deviation over the dimensions present alone.
func (m *marginal) whiten(b *Baseline) float64 {
	same := m.version == b.version && len(m.index) == b.present
	for j := 0; same && j < b.n; j++ {
		same = m.mask[j] == b.taking[j]
	}
	if !same {
		m.choose(b)
	}
	p := len(m.index)
	if p == 0 {
		return 0
	}
	z := m.z[:p]
	for k, j := range m.index {
		z[k] = b.deviation[j]
	}
	d2 := m.factor.whiten(z)
	clear(b.white)
	for k, j := range m.index {
		b.white[j] = z[k]
	}
	return d2
}

// choose factorises the part of R that belongs to b's present dimensions.
func (m *marginal) choose(b *Baseline) {
	m.version = b.version
	copy(m.mask, b.taking)
	m.index = m.index[:0]
	for j, taking := range b.taking {
		if taking {
			m.index = append(m.index, j)
		}
	}
	p := len(m.index)
	m.factor.n = p
	for k, j := range m.index {
		for i := k + 1; i < p; i++ {
			b.matrix[k*p+i] = (1 - b.shrinkage) * b.cov[j*b.n+m.index[i]] * b.inverse[j] * b.inverse[m.index[i]]
		}
		b.matrix[k*p+k] = 1
	}
	if p > 0 && !m.factor.factorise(b.matrix[:p*p]) {
		clear(b.matrix[:p*p])
		for k := range p {
			b.matrix[k*p+k] = 1
		}
		m.factor.factorise(b.matrix[:p*p])
	}
}

// unwhiten fills b's precision.
func (m *marginal) unwhiten(b *Baseline) {
	clear(b.precision)
	z := m.z[:len(m.index)]
	for k, j := range m.index {
		z[k] = b.white[j]
	}
	if len(z) > 0 {
		m.factor.unwhiten(z)
	}
	for k, j := range m.index {
		b.precision[j] = z[k] * b.known
	}
}
