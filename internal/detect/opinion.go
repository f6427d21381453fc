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

	d2       float64
	rarities [numCharts]float64 // of the charts, each by itself
	rarity   float64            // the greatest of them
	chart    chart              // which it is
}

func newOpinion(base *Baseline) opinion {
	return opinion{base: base, charts: newCharts(base.n)}
}

// clipAt is the rarity at which deviations are clipped before they are learned.
// The charts clip at the limit, so that one burst alone never alarms those that
// accumulate.
const clipAt = 5

// clip is the distance of rarity u, beyond which a deviation counts as if it lay
// there.
func (o *opinion) clip(u float64) float64 {
	if o.charts.scale[sudden].seen < 10 {
		return math.Inf(1)
	}
	return o.distance(u)
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
	phi := min(o.base.Autocorrelation(), 0.9)
	k := reference * math.Sqrt((1+phi)/(1-phi))
	reach := math.Inf(1)
	if s := &c.scale[drift]; s.seen > settled {
		y := max(s.q+(limit+beyond)*s.unit(ignorance[drift]), 0)
		reach = y * y
	}
	c.step(o.base.white, o.d2, o.clip(limit), k, reach)
	c.rarities(&o.rarities)
	o.rarity, o.chart = o.rarities[sudden], sudden
	for i := steady; i < numCharts; i++ {
		// What the CUSUM has accumulated counts only once it is enough: it says
		// that something has changed, not how unusual the present is.
		if u := o.rarities[i]; u > o.rarity && (i != drift || u > limit) {
			o.rarity, o.chart = u, i
		}
	}
}

// distance is the rarity u as a Mahalanobis distance that would be as rare.
func (o *opinion) distance(u float64) float64 {
	s := &o.charts.scale[sudden]
	y := max(0, s.q+u*s.unit(ignorance[sudden]))
	return y * y
}
