// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package entropy says how evenly something is spread over a fixed number of
// classes. It promises no allocation; it refuses to guess what it was not shown,
// so that few observations are told by their own frequencies, uncorrected.
package entropy

import "math"

// Normalised returns the entropy of counts, one a class, in units of the largest
// that so many classes can have (Shannon 1948, theorem 2, with the observed
// frequencies for the probabilities):
//
//	H = −Σ pᵢ ln pᵢ / ln k,  pᵢ = countᵢ / Σ count,  k = len(counts)
//
// It is 0 when all there is is in one class, or there is nothing, and 1 when
// every class has as much as any other. Of n observations it is at most
// ln n / ln k, and on the average too small by about (m−1) / (2n ln k), where m
// is the number of classes that occur (Miller 1955).
func Normalised(counts []uint64) float64 {
	var total, weighted float64
	for _, c := range counts {
		if c > 0 {
			n := float64(c)
			total += n
			weighted += n * math.Log(n)
		}
	}
	if total == 0 || len(counts) < 2 {
		return 0
	}
	h := (math.Log(total) - weighted/total) / math.Log(float64(len(counts)))
	return min(max(h, 0), 1) // rounding
}
