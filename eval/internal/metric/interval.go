// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package metric

// Interval is rows [Start, End).
type Interval struct{ Start, End int }

// Intervals returns the maximal runs of true labels.
func Intervals(label []bool) []Interval {
	var out []Interval
	for i, l := range label {
		switch {
		case !l:
		case len(out) > 0 && out[len(out)-1].End == i:
			out[len(out)-1].End = i + 1
		default:
			out = append(out, Interval{Start: i, End: i + 1})
		}
	}
	return out
}

// Delays returns, for every labelled interval in which a row is alarmed, the
// seconds from the first row of the interval to the first alarmed row in it,
// and the number of labelled intervals. An alarm before or after an interval,
// however close, does not detect it. seconds is the time of each row.
func Delays(label, alarm []bool, seconds []float64) (delays []float64, intervals int) {
	all := Intervals(label)
	for _, r := range all {
		for i := r.Start; i < r.End; i++ {
			if alarm[i] {
				delays = append(delays, seconds[i]-seconds[r.Start])
				break
			}
		}
	}
	return delays, len(all)
}
