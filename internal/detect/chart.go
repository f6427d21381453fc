// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

const (
	// smoothing is λ of the multivariate EWMA: it looks back on about
	// 2/λ − 1 = 9 decisions.
	smoothing = 0.2
	// spreading is λ of the EWMA of squared distances, about 19 decisions.
	spreading = 0.1
	// reference is k of the CUSUM, in standard deviations: half the shift that it
	// detects soonest.
	reference = 0.5
)

// chart names the four statistics that watch one baseline.
type chart uint8

const (
	// sudden is D², the squared distance itself: what is abrupt.
	sudden chart = iota
	// steady is the squared length of the multivariate EWMA of whitened, clipped
	// deviations (Lowry, Woodall, Champ and Rigdon 1992, eq. 2.2): what persists
	// for seconds, like a leak among allocation bursts larger than it.
	steady
	// drift is the length of the multivariate CUSUM of the same (Crosier 1988,
	// eq. 3): what is small and stays.
	drift
	// spread is the EWMA of clipped D²: more variance, or correlations that no
	// longer hold, while the means stay.
	spread

	numCharts
)

var chartNames = [numCharts]string{"sudden", "steady", "drift", "spread"}

// charts keeps the four statistics of one baseline. All work on whitened
// deviations z, so that a step is O(n).
type charts struct {
	ewma   []float64
	cusum  []float64
	spread float64
	began  bool

	value [numCharts]float64
	scale [numCharts]scale
}

func newCharts(n int) charts { return charts{ewma: make([]float64, n), cusum: make([]float64, n)} }

func (c *charts) reset() {
	clear(c.ewma)
	clear(c.cusum)
	c.spread, c.began = 0, false
	for i := range c.scale {
		c.scale[i].reset()
	}
}

func (c *charts) copyFrom(o *charts) {
	copy(c.ewma, o.ewma)
	copy(c.cusum, o.cusum)
	c.spread, c.began, c.value, c.scale = o.spread, o.began, o.value, o.scale
}

// step takes in z with |z|² = d2 and expected of it in calm; deviations beyond
// clip² count as if they lay on it. k is the CUSUM's reference, reach its
// greatest length.
func (c *charts) step(z []float64, d2, expected, clip2, k, reach float64) {
	w := 1.0
	if d2 > clip2 {
		w = math.Sqrt(clip2 / d2)
	}
	var e2, s2 float64
	ewma, cusum := c.ewma[:len(z)], c.cusum[:len(z)]
	for j, v := range z {
		v *= w
		e := ewma[j] + smoothing*(v-ewma[j])
		ewma[j] = e
		e2 += e * e
		s := cusum[j] + v
		cusum[j] = s
		s2 += s * s
	}
	length := math.Sqrt(s2)
	shrink := 0.0
	if length > k {
		shrink = min(1-k/length, reach/length)
	}
	for j := range cusum {
		cusum[j] *= shrink
	}
	if !c.began {
		c.began, c.spread = true, expected
	}
	c.spread += spreading * (min(d2, clip2) - c.spread)
	c.value = [numCharts]float64{d2, e2 * (2 - smoothing) / smoothing, length * shrink, c.spread}
}

// rarity is the greatest of the four, each in mean excesses above its own 95 %
// quantile, and which it is.
func (c *charts) rarity() (u float64, which chart) {
	u = c.scale[sudden].of(c.value[sudden])
	for i := steady; i < numCharts; i++ {
		if v := c.scale[i].of(c.value[i]); v > u {
			u, which = v, i
		}
	}
	return u, which
}

// learn lets the scales of the charts follow healthy values.
func (c *charts) learn(floor float64) {
	for i := range c.scale {
		c.scale[i].learn(c.value[i], floor)
	}
}

// body is the share of healthy values below the quantile that a scale follows.
const body = 0.95

// scale puts a statistic on the scale of its own healthy values: excesses above
// the 95 % quantile q in units of their mean e. For an exponential tail, which
// these statistics have under Gaussian data, an excess of u has probability
// e^−u; so rarities of different statistics compare.
type scale struct {
	mean, square float64 // running moments of log(1+v), for the beginning
	q, e         float64
	seen         float64
}

func (s *scale) reset() { *s = scale{} }

// of returns the excess of v.
func (s *scale) of(v float64) float64 {
	if !(s.e > 0) {
		return 0
	}
	return (v - s.q) / s.e
}

// settled is how many healthy values the moments stand for the quantile.
const settled = 100

// learn takes in a healthy value. The quantile follows by stochastic
// approximation (Robbins and Monro 1951) in steps of the mean excess, which keeps
// following a slow drift.
func (s *scale) learn(v, floor float64) {
	s.seen++
	if s.seen <= settled {
		l := math.Log1p(max(v, 0))
		d := l - s.mean
		s.mean += d / s.seen
		s.square += d * (l - s.mean)
		sd := math.Sqrt(s.square / s.seen)
		// Of a log-normal quantity; in logarithms, because the first scores of a
		// young baseline may be off by orders of magnitude.
		s.q = math.Expm1(s.mean + 1.645*sd)
		s.e = max(0.35*sd*s.q, floor*s.q, 1e-12)
		return
	}
	rate := max(0.5/math.Pow(s.seen, 0.6), 0.001)
	if v > s.q {
		// The excess is clipped, so that one burst does not own the scale.
		excess := min(v-s.q, 10*s.e)
		s.e += 4 * rate * (excess - s.e)
		s.q += 8 * rate * body * s.e
	} else {
		s.q -= 8 * rate * (1 - body) * s.e
	}
	s.e = max(s.e, floor*s.q, 1e-12)
}
