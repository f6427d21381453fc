// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

const (
	// smoothing is λ of the multivariate EWMA: it looks back on about
	// 2/λ − 1 = 9 decisions.
	smoothing = 0.2
	// spreading and lasting are λ of the EWMAs of log D², about 19 and 99
	// decisions.
	spreading, enduring = 0.1, 0.02
	// reference is k of the CUSUM, in standard deviations: half the shift that it
	// detects soonest.
	reference = 0.5
	// repeats is how many decisions in a row the nearest is taken of.
	repeats = 3
	// presence is the weight of the present in what the two EWMAs of log D² count,
	// so that they end with what they tell of.
	presence = 0.1
	// leastDrift is the least mean excess of the root of the CUSUM, as a share of
	// that of its reference.
	leastDrift = 0.1
	// beyond is how far, in rarity, the CUSUM may exceed the limit, so that it
	// falls below again soon after what it accumulated is over.
	beyond = 0.5
)

// chart names the six statistics that watch one baseline.
type chart uint8

const (
	// sudden is √D, the distance itself: what is abrupt.
	sudden chart = iota
	// steady is the same of the multivariate EWMA of whitened, clipped deviations
	// (Lowry, Woodall, Champ and Rigdon 1992, eq. 2.2): what persists for
	// seconds in one direction, like a leak among allocation bursts larger than
	// it.
	steady
	// drift is the root of the length of the multivariate CUSUM of the same
	// (Crosier 1988, eq. 3): what is small and stays.
	drift
	// spread is the EWMA of log D²: more variance, or correlations that no longer
	// hold, while the means stay. The logarithm keeps one burst from owning it.
	spread
	// lasting is the same over a longer time.
	lasting
	// repeated is sudden of the nearest of the last decisions: what is no single
	// burst.
	repeated

	numCharts
)

var chartNames = [numCharts]string{"sudden", "steady", "drift", "spread", "lasting", "repeated"}

// charts keeps the statistics of one baseline. All work on whitened deviations
// z, so that a step is O(n).
type charts struct {
	ewma            []float64
	cusum           []float64
	spread, lasting float64
	began           bool
	reference       float64              // of the CUSUM, in force
	before          [repeats - 1]float64 // distances of the last decisions, newest first

	value [numCharts]float64
	scale [numCharts]scale
}

func newCharts(n int) charts { return charts{ewma: make([]float64, n), cusum: make([]float64, n)} }

// restart forgets what was accumulated, but not what is usual.
func (c *charts) restart() {
	clear(c.ewma)
	clear(c.cusum)
	c.began = false
}

// unsettle lets the scales follow a changed baseline quickly.
func (c *charts) unsettle() {
	for i := range c.scale {
		c.scale[i].seen = min(c.scale[i].seen, 3*settled)
		c.scale[i].rate = 0
	}
}

// reconsider lets the scales forget quickly what came before: the baseline has
// been estimated afresh.
func (c *charts) reconsider() {
	for i := range c.scale {
		c.scale[i].since = 0
	}
}

func (c *charts) copyFrom(o *charts) {
	copy(c.ewma, o.ewma)
	copy(c.cusum, o.cusum)
	c.spread, c.lasting, c.began, c.before, c.value, c.scale = o.spread, o.lasting, o.began, o.before, o.value, o.scale
}

// step takes in z with |z|² = d2; deviations beyond clip count as if they lay on
// it. k is the CUSUM's reference, reach its greatest length.
func (c *charts) step(z []float64, d2, clip, k, reach float64) {
	c.reference = k
	distance := math.Sqrt(d2)
	w := 1.0
	if distance > clip {
		w = clip / distance
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
	nearest := distance
	for _, d := range c.before {
		nearest = min(nearest, d)
	}
	copy(c.before[1:], c.before[:])
	c.before[0] = distance
	l := math.Log(1 + d2)
	if !c.began {
		c.began, c.spread, c.lasting = true, l, l
	}
	c.spread += spreading * (l - c.spread)
	c.lasting += enduring * (l - c.lasting)
	c.value = [numCharts]float64{
		math.Sqrt(distance), math.Sqrt(math.Sqrt(e2 * (2 - smoothing) / smoothing)), math.Sqrt(length * shrink), c.spread + presence*l, c.lasting + presence*l, math.Sqrt(nearest),
	}
}

// rarities fills r with each statistic in mean excesses above its own 95 %
// quantile.
func (c *charts) rarities(r *[numCharts]float64) {
	for i := range c.scale {
		r[i] = c.scale[i].of(c.value[i], ignorance[i])
	}
}

// values are those of the charts, to be learned.
type values [numCharts]float32

func (v *values) set(c *charts) {
	for i, x := range c.value {
		v[i] = float32(x)
	}
}

// learn lets the scales of the charts follow healthy values.
func (c *charts) learn(v *values, floor, share float64) {
	for i := range c.scale {
		c.scale[i].learn(float64(v[i]), floor, share)
	}
	// What looks back learns its scale late: one burst after a quiet start would
	// be far beyond it. So none is much narrower than that of the distance, those
	// of logarithms by d log D² = 4 d√D/√D.
	s := &c.scale[sudden]
	relative := 4 * s.e / max(s.q, 1e-3)
	c.scale[steady].e = max(c.scale[steady].e, 0.6*s.e)
	c.scale[repeated].e = max(c.scale[repeated].e, 0.6*s.e)
	c.scale[spread].e = max(c.scale[spread].e, 0.25*relative)
	c.scale[lasting].e = max(c.scale[lasting].e, 0.1*relative)
	// A CUSUM that is mostly zero has no scale of its own.
	c.scale[drift].e = max(c.scale[drift].e, leastDrift*math.Sqrt(c.reference))
}

// ignorance is how many values a scale must have seen to be known within a
// factor of two, more for those that look back on more.
var ignorance = [numCharts]float64{sudden: 120, steady: 200, drift: 250, spread: 150, lasting: 250, repeated: 200}

// body is the share of healthy values below the quantile that a scale follows.
const body = 0.95

// scale puts a statistic on the scale of its own healthy values: excesses above
// the 95 % quantile q in units of their mean e, so that rarities of different
// statistics compare: were the tails exponential, an excess of u would have
// probability e^−u.
type scale struct {
	mean, square float64 // running moments of log(1+v), for the beginning
	q, e         float64
	seen         float64
	since        float64 // values since the baseline was last estimated afresh
	rate         float64 // of the approximation, in force for the next few values
}

// unit is what a rarity of one is in the unit of the statistic: the mean excess,
// and more the less is known: twice it when as many values have been seen as
// ignorance says.
func (s *scale) unit(ignorance float64) float64 { return s.e * (1 + ignorance/max(s.seen, 1)) }

// of returns the excess of v in units.
func (s *scale) of(v, ignorance float64) float64 {
	if !(s.e > 0) || v <= 0 {
		return -offset
	}
	return (v - s.q) / s.unit(ignorance)
}

const (
	// settled is for how many healthy values the moments stand for the quantile.
	settled = 150
	// recently is the least weight of a value in them: a young baseline changes
	// what values mean.
	recently = 0.02
	// standing is how many values those before the baseline was last estimated
	// afresh count as.
	standing = 20
)

// learn takes in a healthy value, which counts as share of one. The quantile
// follows by stochastic approximation (Robbins and Monro 1951) in steps of the
// mean excess, which keeps following a slow drift.
func (s *scale) learn(v, floor, share float64) {
	s.seen++
	if s.seen <= settled {
		l := math.Log1p(max(v, 0))
		d := l - s.mean
		s.since++
		a := max(1/min(s.seen, s.since+standing), recently) * share
		s.mean += a * d
		s.square += a * (d*(l-s.mean) - s.square)
		sd := math.Sqrt(s.square)
		// Of a log-normal quantity; in logarithms, because the first scores of a
		// young baseline may be off by orders of magnitude.
		s.q = math.Expm1(s.mean + 1.645*sd)
		s.e = max(0.35*sd*s.q, floor*s.q, 1e-12)
		return
	}
	if s.rate == 0 || int(s.seen)%64 == 0 {
		s.rate = max(25/s.seen, 0.001)
	}
	rate := s.rate * share
	if v > s.q {
		// The excess is clipped, so that one burst does not own the scale.
		excess := min(v-s.q, 4*s.e)
		s.e += max(1/(1+(1-body)*s.seen), 0.0005) * share * (excess - s.e)
		s.q += rate * body * s.e
	} else {
		s.q -= rate * (1 - body) * s.e
	}
	s.e = max(s.e, floor*s.q, 1e-12)
}
