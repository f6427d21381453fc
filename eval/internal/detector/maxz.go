// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import "math"

// staticMaxZ is the greatest |z| of any dimension, z from mean and standard
// deviation of the prefix: what a page of per-metric thresholds amounts to.
type staticMaxZ struct {
	scale scale
	z     []float64
}

func newStaticMaxZ(Setting) Detector {
	return &calibrated{fresh: func() model { return &staticMaxZ{} }}
}

func (d *staticMaxZ) fit(rows [][]float64) {
	d.scale = newScale(rows)
	d.z = make([]float64, len(rows[0]))
}

func (d *staticMaxZ) score(x []float64) float64 {
	d.scale.standardise(d.z, x)
	return largest(d.z)
}

func largest(z []float64) float64 {
	var m float64
	for _, v := range z {
		m = max(m, math.Abs(v))
	}
	return m
}

// onlineMaxZ is the same with mean and variance forgotten exponentially (West
// 1979); it learns every row after scoring it.
type onlineMaxZ struct {
	decay    float64
	count    float64
	mean     []float64
	variance []float64
	z        []float64
}

func newOnlineMaxZ(s Setting) Detector {
	decay := decay(s)
	return &calibrated{fresh: func() model { return &onlineMaxZ{decay: decay} }}
}

func (d *onlineMaxZ) fit(rows [][]float64) {
	n := len(rows[0])
	d.mean, d.variance, d.z = make([]float64, n), make([]float64, n), make([]float64, n)
	for _, x := range rows {
		d.score(x)
	}
}

func (d *onlineMaxZ) score(x []float64) float64 {
	d.count = min(d.count+1, 1/d.decay)
	alpha := 1 / d.count
	for j, v := range x {
		deviation := math.Sqrt(d.variance[j])
		if deviation < flat {
			deviation = 1
		}
		delta := v - d.mean[j]
		d.z[j] = delta / deviation
		d.mean[j] += alpha * delta
		d.variance[j] = (1 - alpha) * (d.variance[j] + alpha*delta*delta)
	}
	return largest(d.z)
}

// decay is the weight of a new row for a challenger with the memory of the
// engine.
func decay(s Setting) float64 {
	rows := max(memory.Seconds()/s.Interval, float64(leastMemory*(len(s.Columns)+leastDimensions)))
	return -math.Expm1(-math.Ln2 / rows)
}
