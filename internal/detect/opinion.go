// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// opinion is one baseline's view of the present: its charts and what they say.
// The detector has up to three, fast, slow and seasonal, which must agree.
type opinion struct {
	base   *Baseline
	centre []float64 // of the seasonal one; nil: the baseline's own mean
	charts charts

	d2     float64
	rarity float64
	chart  chart
}

func newOpinion(base *Baseline) opinion {
	return opinion{base: base, charts: newCharts(base.n)}
}

// clipAt is the rarity at which deviations are clipped before they are learned
// or summed up: one healthy decision in 20·e⁵ = 3,000 under Gaussian data.
const clipAt = 5

// clip is the squared distance beyond which a deviation counts as if it lay
// there.
func (o *opinion) clip() float64 {
	s := &o.charts.scale[sudden]
	if s.seen < 10 {
		return math.Inf(1)
	}
	return s.q + clipAt*s.e
}

// score computes the squared distance of x.
func (o *opinion) score(x []float64) {
	if o.centre == nil {
		o.d2 = o.base.Score(x)
	} else {
		o.d2 = o.base.scoreFrom(x, o.centre)
	}
}

// judge advances the charts by the vector scored last. limit is the rarity that
// alarms.
func (o *opinion) judge(limit float64) {
	c := &o.charts
	phi := o.base.Autocorrelation()
	k := reference * math.Sqrt((1+phi)/(1-phi))
	reach := math.Inf(1)
	if s := &c.scale[drift]; s.seen > settled {
		reach = max(s.q, 0) + 1.5*limit*s.e
	}
	c.step(o.base.white, o.d2, float64(o.base.present), o.clip(), k, reach)
	o.rarity, o.chart = c.rarity()
}

// distance is the rarity u as a Mahalanobis distance that would be as rare.
func (o *opinion) distance(u float64) float64 {
	s := &o.charts.scale[sudden]
	return math.Sqrt(max(0, s.q+u*s.e))
}
