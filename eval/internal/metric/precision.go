// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package metric

import (
	"math"
	"slices"
)

// AveragePrecision is the area under the precision-recall curve without
// interpolation between its points,
//
//	AP = Σₖ (Rₖ − Rₖ₋₁) Pₖ
//
// over the distinct scores in falling order; rows of equal score are one
// threshold. Linear interpolation in this space would be too optimistic (Davis
// and Goadrich 2006). A random score gets the share of positive rows. It is NaN
// if no label is true.
func AveragePrecision(label []bool, score []float64) float64 {
	order := descending(score)
	positives := count(label)
	if positives == 0 {
		return math.NaN()
	}
	var area, hits float64
	for i := 0; i < len(order); {
		before := hits
		threshold := score[order[i]]
		for i < len(order) && score[order[i]] == threshold {
			if label[order[i]] {
				hits++
			}
			i++
		}
		area += (hits - before) / float64(positives) * hits / float64(i)
	}
	return area
}

// descending returns the rows ordered by falling score.
func descending(score []float64) []int {
	order := make([]int, len(score))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case score[a] > score[b]:
			return -1
		case score[a] < score[b]:
			return 1
		default:
			return 0
		}
	})
	return order
}

func count(label []bool) int {
	n := 0
	for _, l := range label {
		if l {
			n++
		}
	}
	return n
}
