// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import "math"

// scale maps values to pixels, linearly or by their decimal logarithm.
type scale struct {
	from, to   float64 // values
	start, end float64 // pixels
	log        bool
}

func (s scale) pixel(v float64) float64 {
	from, to := s.from, s.to
	if s.log {
		v, from, to = math.Log10(max(v, s.from)), math.Log10(from), math.Log10(to)
	}
	return s.start + (v-from)/(to-from)*(s.end-s.start)
}

// clamp keeps v within the scale.
func (s scale) clamp(v float64) float64 { return min(max(v, s.from), s.to) }

// ticks returns about n round values within the scale.
func (s scale) ticks(n int) []float64 {
	if s.log {
		return decades(s.from, s.to)
	}
	step := roundStep((s.to - s.from) / float64(n))
	var ticks []float64
	for i := math.Ceil(s.from/step - 1e-9); i*step <= s.to+step*1e-9; i++ {
		ticks = append(ticks, i*step+0) // + 0: no negative zero
	}
	return ticks
}

// roundStep is the smallest of 1, 2 and 5 times a power of ten that is not
// below step.
func roundStep(step float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(step)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*power >= step*(1-1e-9) {
			return f * power
		}
	}
	return 10 * power
}

func decades(from, to float64) (ticks []float64) {
	for e := math.Ceil(math.Log10(from) - 1e-9); e <= math.Log10(to)+1e-9; e++ {
		ticks = append(ticks, math.Pow(10, e))
	}
	return ticks
}

// top returns a round value a little above v, and above floor.
func top(floor, v float64, log bool) float64 {
	if log {
		return math.Pow(10, math.Ceil(math.Log10(max(v, floor)*1.05)))
	}
	if v <= floor {
		return floor + 1
	}
	step := roundStep((v - floor) / 4)
	return floor + math.Ceil((v-floor)*1.04/step)*step
}
