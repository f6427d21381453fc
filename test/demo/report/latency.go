// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// windows returns the p99 latency in ms of service in each whole window between
// from and to. A request belongs to the window in which it was due, whether or
// not it was answered: one given up counts with the time it was waited for.
func windows(answers []recording.Answer, service string, from, to int64, length time.Duration) []float64 {
	// A window may miss the end by a scheduling delay, not more.
	n := int((to - from + int64(length)/100) / int64(length))
	latencies := make([][]float64, n)
	for _, a := range answers {
		if a.Service != service || a.Intended < from {
			continue
		}
		if i := int((a.Intended - from) / int64(length)); i < n {
			latencies[i] = append(latencies[i], float64(a.Latency)/1e6)
		}
	}
	p99 := make([]float64, 0, n)
	for _, l := range latencies {
		if len(l) > 0 {
			p99 = append(p99, Percentile(l, 0.99))
		}
	}
	return p99
}

// Percentile is the nearest-rank percentile p of values, which it sorts; NaN
// for none.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	rank := int(math.Ceil(p * float64(len(values))))
	return values[max(rank, 1)-1]
}

// median is the middle of values, or the mean of the two in the middle; 0 for
// none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
