// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package metric

// Tolerance says what belongs together when alarms are counted as episodes.
type Tolerance struct {
	// An episode ends when both GapSeconds and GapRows have passed without an
	// alarmed row.
	GapSeconds float64
	GapRows    int
	// A labelled interval counts for WidenSeconds or WidenRows, whichever is
	// more, before its first and after its last row: injections start and end
	// raggedly, and an early alarm about one is no false alarm. (It does not
	// detect it either, see [Delays].)
	WidenSeconds float64
	WidenRows    int
}

// DefaultTolerance is what the published tables use.
var DefaultTolerance = Tolerance{GapSeconds: 30, GapRows: 5, WidenSeconds: 5, WidenRows: 1}

// Episodes returns the false episodes: maximal groups of alarmed rows, joined
// over gaps within the tolerance, of which no row between the first and the last
// alarmed lies in a widened labelled interval. seconds is the time of each row.
//
// A detector that never stops alarming has few episodes; read
// [AlarmedShare] beside them.
func Episodes(label, alarm []bool, seconds []float64, t Tolerance) (episodes int) {
	excused := widen(label, seconds, t)
	open, last, innocent := false, 0, false
	for i, a := range alarm {
		if open && i-last > t.GapRows && seconds[i]-seconds[last] > t.GapSeconds {
			open = false
			if !innocent {
				episodes++
			}
		}
		if !a {
			continue
		}
		from := i
		if open {
			from = last + 1
		} else {
			innocent = false
		}
		for k := from; k <= i && !innocent; k++ {
			innocent = excused[k]
		}
		open, last = true, i
	}
	if open && !innocent {
		episodes++
	}
	return episodes
}

// widen marks the rows of labelled intervals and those within the tolerance of
// one.
func widen(label []bool, seconds []float64, t Tolerance) []bool {
	wide := make([]bool, len(label))
	for _, r := range Intervals(label) {
		for i := r.Start; i < r.End; i++ {
			wide[i] = true
		}
		for i := r.Start - 1; i >= 0 && (r.Start-i <= t.WidenRows || seconds[r.Start]-seconds[i] <= t.WidenSeconds); i-- {
			wide[i] = true
		}
		end := r.End - 1
		for i := r.End; i < len(wide) && (i-end <= t.WidenRows || seconds[i]-seconds[end] <= t.WidenSeconds); i++ {
			wide[i] = true
		}
	}
	return wide
}

// AlarmedShare is how much of the unlabelled rows is alarmed, and the number of
// unlabelled rows.
func AlarmedShare(label, alarm []bool) (alarmed, unlabelled int) {
	for i, l := range label {
		if l {
			continue
		}
		unlabelled++
		if alarm[i] {
			alarmed++
		}
	}
	return alarmed, unlabelled
}
