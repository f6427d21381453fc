// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"errors"
	"math"
)

// Row is what a detector sees of one row: never its label.
type Row struct {
	// Nanoseconds since the epoch where the recording says so, otherwise since
	// its first row.
	Nanoseconds int64
	// Raw holds the metrics; NaN is missing.
	Raw []float64
	// Filled holds them with the last value carried forward over missing ones.
	// What is missing from the start takes the first value of the prefix, or 0.
	Filled []float64
}

// Recording is one file.
type Recording struct {
	Dataset, Name string
	Columns       []string
	Interval      float64 // s, the usual time between rows
	Rows          []Row
	Seconds       []float64 // of each row since the first
	Label         []bool
	Prefix        int // rows on which detectors may warm up
}

// ErrUnlabelled marks a file without a column `label`.
var ErrUnlabelled = errors.New("no numeric column `label` of 0 and 1")

const (
	// leastPrefix is the least number of rows to warm up on, if half the file
	// has as many.
	leastPrefix = 40
	// prefixShare is the greatest share of a file to warm up on, if that is more
	// than leastPrefix rows.
	prefixShare = 5
)

// prefix returns how many rows to warm up on: those that the publisher split
// off for training, or else those before the first labelled row, but at least
// 40 and at most a fifth of the file. A clean file gives a fifth.
func prefix(train int, label []bool) int {
	if train > 0 {
		return train
	}
	n := len(label)
	before := n
	for i, l := range label {
		if l {
			before = i
			break
		}
	}
	return min(max(leastPrefix, min(before, n/prefixShare)), n/2)
}

// fill sets Filled of every row.
func (r *Recording) fill() {
	last := make([]float64, len(r.Columns))
	for j := range last {
		for _, row := range r.Rows[:r.Prefix] {
			if !math.IsNaN(row.Raw[j]) {
				last[j] = row.Raw[j]
				break
			}
		}
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		row.Filled = row.Raw
		whole := true
		for j, v := range row.Raw {
			if math.IsNaN(v) {
				whole = false
			} else {
				last[j] = v
			}
		}
		if !whole {
			row.Filled = append([]float64(nil), last...)
		}
	}
}
