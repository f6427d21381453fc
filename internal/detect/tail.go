// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
)

const (
	// body is the share of healthy ratios below the tail's threshold.
	body = 0.95
	// separation is how many decisions below the threshold end a cluster.
	separation = 5
	// maxima is how many cluster maxima the tail remembers.
	maxima = 256
	// Until maxima have been seen, the excess is believed to be priorExcess on
	// average and its shape priorShape, with the weight of that many maxima.
	// 0.1 of the theoretical limit is about the mean excess of a χ distribution
	// over its 95 % quantile at 8 to 20 dimensions.
	priorExcess, excessWeight = 0.1, 5
	priorShape, shapeWeight   = 0.1, 20
	// greatestShape bounds the generalised Pareto shape: heavier tails than this
	// cannot be told from an outlier by 256 maxima.
	greatestShape = 0.4
	// The limit lies at most leastReach to greatestReach times as far out as the
	// greatest maximum remembered, however rare the exceedances asked for; the
	// more maxima, the further the fit is trusted. What was never seen is looked
	// at once, and learned from if it passes.
	leastReach, greatestReach, reachHalf = 1.2, 1.5, 64
	// memory is how many decisions the rate of clusters looks back on, about.
	memory = 1 << 17
)

// tail calibrates a limit on healthy scores by the peaks-over-threshold method
// (Pickands 1975; for streams Siffer et al. 2017), on cluster maxima, because
// consecutive scores are not independent (Leadbetter 1991). Scores come as
// ratios to their theoretical limit, which takes out how much the baseline knew
// when each was made.
//
// It is honest near the data and an extrapolation beyond: with a few hundred
// maxima a return period a hundred times longer than what was seen may be off
// by an order of magnitude. It never asks for less than the theoretical limit.
type tail struct {
	threshold float64
	seen      float64 // decisions
	clusters  float64
	run       int // decisions since the last exceedance
	peak      float64
	ring      [maxima]float64
	n, next   int
	sorted    [maxima]float64
	greatest  float64 // of the ring
	scale     float64 // of the fitted generalised Pareto distribution
	shape     float64
}

func (t *tail) reset() {
	*t = tail{threshold: 0.75, scale: priorExcess * (1 - priorShape), shape: priorShape, run: separation}
}

// observe takes in the ratio of one healthy score to its theoretical limit.
func (t *tail) observe(r float64) {
	t.seen++
	// Multiplicative stochastic approximation of the quantile (Robbins and Monro
	// 1951): scale-free, and it keeps following a slow drift.
	gain := 0.01
	if t.seen < 2000 {
		gain = 1 / math.Pow(t.seen, 0.6)
	}
	if r > t.threshold {
		t.threshold *= 1 + gain*body
		if t.run >= separation {
			t.peak = r
		}
		t.peak = max(t.peak, r)
		t.run = 0
	} else {
		t.threshold *= 1 - gain*(1-body)
		t.run++
		if t.run == separation && t.peak > 0 {
			t.learn(t.peak)
			t.peak = 0
		}
	}
	if t.seen > memory {
		t.seen /= 2
		t.clusters /= 2
	}
}

// learn takes in the maximum of one cluster and fits again.
func (t *tail) learn(peak float64) {
	t.clusters++
	t.ring[t.next] = peak
	t.next = (t.next + 1) % maxima
	t.n = min(t.n+1, maxima)
	if t.n < 64 || t.next%16 == 0 {
		t.fit()
	}
}

// fit estimates the generalised Pareto distribution of the excesses by
// probability-weighted moments (Hosking and Wallis 1987), drawn towards a prior
// while there are few.
func (t *tail) fit() {
	excess := t.sorted[:0]
	t.greatest = 0
	for _, m := range t.ring[:t.n] {
		t.greatest = max(t.greatest, m)
		if m > t.threshold {
			excess = append(excess, m-t.threshold)
		}
	}
	slices.Sort(excess)
	n := float64(len(excess))
	var a0, a1 float64
	for i, y := range excess {
		a0 += y
		a1 += y * (n - 0.65 - float64(i)) / n // 1 − plotting position (i+1−0.35)/n
	}
	shape := priorShape
	if n >= 8 {
		b0, b1 := a0/n, a1/n
		if b0 > 2*b1 {
			shape = 2 - b0/(b0-2*b1)
		} else {
			shape = greatestShape
		}
		shape = (n*shape + shapeWeight*priorShape) / (n + shapeWeight)
	}
	t.shape = max(0, min(greatestShape, shape))
	mean := (a0 + excessWeight*priorExcess) / (n + excessWeight)
	t.scale = mean * (1 - t.shape)
}

// reach is how far beyond the greatest maximum the fit is believed.
func (t *tail) reach() float64 {
	n := float64(t.n)
	return leastReach + (greatestReach-leastReach)*n/(n+reachHalf)
}

// level returns the ratio that is exceeded, by the fit, once in return period
// decisions, and at least 1.
func (t *tail) level(period float64) float64 {
	rate := (t.clusters + 1) / (t.seen + 1/(1-body)*2)
	k := rate * period
	if k <= 1 {
		return max(1, t.threshold)
	}
	var x float64
	if t.shape < 1e-3 {
		x = t.scale * math.Log(k)
	} else {
		x = t.scale / t.shape * (math.Pow(k, t.shape) - 1)
	}
	if t.n > 0 {
		return max(1, min(t.threshold+x, t.reach()*t.greatest))
	}
	return 1
}
