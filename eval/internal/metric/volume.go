// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"math"
	"sort"
)

const (
	// Thresholds is how many thresholds a curve of [VolumePR] has.
	Thresholds = 250
	// GreatestWindow bounds [Window].
	GreatestWindow = 100
)

// Window is the greatest buffer of [VolumePR] for so many rows: a tenth of
// them, at most 100. (The benchmark TSB-AD takes the period of the series for
// it; recordings of a node have none that is worth the name.)
func Window(rows int) int { return min(GreatestWindow, rows/10) }

// VolumePR is the volume under the surface of precision, recall and buffer
// length, VUS-PR (Paparrizos, Boniol, Palpanas, Tsay, Elmore and Franklin 2022,
// PVLDB 15(11), §4), as its authors' benchmark TSB-AD computes it
// (RangeAUC_volume_opt, version 1.5). Labels soften to √(1 − d/ℓ) at distance
// d ≤ ⌊ℓ/2⌋ from an interval. At one threshold, with h hard and s soft positives
// met of P hard ones,
//
//	precision = (h + s) / rows met
//	recall = min(1, (h + s) / (P + s/2)) · share of buffered intervals met
//
// and the area is Σₖ (Rₖ − Rₖ₋₁) Pₖ over 250 thresholds taken at equally spaced
// ranks. The volume is the mean over ℓ = 0 … window.
//
// Where TSB-AD evaluates every threshold by itself, this sorts rows into the
// first threshold that meets them, which gives a whole curve in one pass: O(n)
// a buffer length. It is NaN if no label is true.
func VolumePR(label []bool, score []float64, window, thresholds int) float64 {
	intervals := Intervals(label)
	if len(intervals) == 0 || len(score) < 2 || thresholds < 2 {
		return math.NaN()
	}
	s := newSurface(label, score, intervals, thresholds)
	var volume float64
	for length := range window + 1 {
		volume += s.area(length, merged(intervals, window/2, len(label)))
	}
	return volume / float64(window+1)
}

// surface holds what does not depend on the buffer length.
type surface struct {
	label     []bool
	intervals []Interval
	positives float64
	bucket    []int     // of each row: the first threshold that meets it
	met       []float64 // rows met by each threshold
	soft      []float64 // labels of the buffer length in work
	hard      []float64 // of each threshold alone: labelled rows met
	buffer    []float64 // of each threshold alone: soft labels met beside them
	found     []float64 // of each threshold alone: buffered intervals met
}

func newSurface(label []bool, score []float64, intervals []Interval, thresholds int) *surface {
	n := len(score)
	s := &surface{
		label: label, intervals: intervals, positives: float64(count(label)),
		bucket: make([]int, n), met: make([]float64, thresholds),
		soft: make([]float64, n), hard: make([]float64, thresholds),
		buffer: make([]float64, thresholds), found: make([]float64, thresholds),
	}
	order := descending(score)
	level := make([]float64, thresholds)
	for k := range level {
		level[k] = score[order[k*(n-1)/(thresholds-1)]]
	}
	for i, v := range score {
		s.bucket[i] = sort.Search(thresholds-1, func(k int) bool { return level[k] <= v })
		s.met[s.bucket[i]]++
	}
	for k := 1; k < thresholds; k++ {
		s.met[k] += s.met[k-1]
	}
	return s
}

// area is the area under the curve of one buffer length. reach holds the
// intervals at the greatest buffer length, outside of which soft labels are 0.
func (s *surface) area(length int, reach []Interval) float64 {
	s.soften(length)
	clear(s.hard)
	clear(s.buffer)
	clear(s.found)
	for _, r := range reach {
		for i := r.Start; i < r.End; i++ {
			if s.label[i] {
				s.hard[s.bucket[i]]++
			} else {
				s.buffer[s.bucket[i]] += s.soft[i]
			}
		}
	}
	buffered := merged(s.intervals, length/2, len(s.label))
	for _, r := range buffered {
		first := s.bucket[r.Start]
		for _, k := range s.bucket[r.Start:r.End] {
			first = min(first, k)
		}
		s.found[first]++
	}
	var area, hard, buffer, found, recall float64
	for k := range s.hard {
		hard += s.hard[k]
		buffer += s.buffer[k]
		found += s.found[k]
		hits := hard + buffer
		r := min(hits/(s.positives+buffer/2), 1) * found / float64(len(buffered))
		area += (r - recall) * hits / s.met[k]
		recall = r
	}
	return area
}

// soften fills soft with the labels at one buffer length.
func (s *surface) soften(length int) {
	for i, l := range s.label {
		s.soft[i] = 0
		if l {
			s.soft[i] = 1
		}
	}
	for _, r := range s.intervals {
		for d := 1; d <= length/2; d++ {
			v := math.Sqrt(1 - float64(d)/float64(length))
			if i := r.End - 1 + d; i < len(s.soft) {
				s.soft[i] = min(1, s.soft[i]+v)
			}
			if i := r.Start - d; i >= 0 {
				s.soft[i] = min(1, s.soft[i]+v)
			}
		}
	}
}

// merged widens every interval by reach rows on both sides and joins those that
// then overlap, within n rows.
func merged(intervals []Interval, reach, n int) []Interval {
	var out []Interval
	for _, r := range intervals {
		w := Interval{Start: max(0, r.Start-reach), End: min(n, r.End+reach)}
		if k := len(out) - 1; k >= 0 && w.Start < out[k].End {
			out[k].End = w.End
			continue
		}
		out = append(out, w)
	}
	return out
}
