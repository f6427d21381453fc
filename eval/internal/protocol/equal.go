// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"math"
	"slices"
)

// rankGrowth spaces the thresholds that atMost tries: each meets about so many
// times as many rows as the last.
const rankGrowth = 1.03

// atMost lowers one threshold for all recordings of a data set for as long as
// there are no more false episodes than allowed, and returns it and what is
// counted there. It stops at the first threshold with too many: further down
// episodes run together, and a detector that always alarms has hardly any.
func atMost(allowed int, parts []Scored, traces []Trace) (threshold float64, counted Tally) {
	var all []float64
	for _, t := range traces {
		all = append(all, t.Score...)
	}
	slices.SortFunc(all, func(a, b float64) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		default:
			return 0
		}
	})
	threshold = math.Inf(1)
	counted = above(threshold, parts, traces)
	for rank := 0; rank < len(all); rank = max(rank+1, int(float64(rank)*rankGrowth)) {
		if all[rank] >= threshold {
			continue
		}
		// Rows of this score stay below the threshold.
		next := above(all[rank], parts, traces)
		if next.FalseEpisodes > allowed {
			break
		}
		threshold, counted = all[rank], next
	}
	return threshold, counted
}

// above counts what alarms a threshold would give.
func above(threshold float64, parts []Scored, traces []Trace) Tally {
	var sum Tally
	for k, t := range traces {
		alarm := make([]bool, len(t.Score))
		for i, v := range t.Score {
			alarm[i] = v > threshold
		}
		sum.add(tally(parts[k], alarm))
	}
	return sum
}
