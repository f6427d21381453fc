// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestASummaryIsOfSortedValuesAndLeavesThemAlone(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	s := Summarise(values)
	assert.Equal(t, []float64{5, 1, 4, 2, 3}, values)
	assert.Equal(t, Summary{N: 5, Median: 3, Q1: 2, Q3: 4, Min: 1, Max: 5, Low: 1, High: 5}, s)
	assert.Equal(t, Summary{}, Summarise(nil))
	assert.Equal(t, Summary{N: 1, Median: 7, Q1: 7, Q3: 7, Min: 7, Max: 7, Low: 7, High: 7}, Summarise([]float64{7}))
	assert.InDelta(t, 2.5, Summarise([]float64{1, 2, 3, 4}).Median, 1e-12)
}

// The ranks are those of tables for the sign test: of 6 values the extremes, of
// 9 the second, of 20 the sixth from either end.
func TestTheMedianIsEnclosedByTheRanksOfTheSignTest(t *testing.T) {
	for n, rank := range map[int]int{1: 0, 5: 0, 6: 0, 8: 0, 9: 1, 12: 2, 20: 5, 24: 6} {
		assert.Equal(t, rank, medianRank(n), "%d values", n)
	}
}

func TestALossIsOfItsOwnPair(t *testing.T) {
	got := losses([]float64{100, 200, 50}, []float64{99, 200, 51})
	assert.InDeltaSlice(t, []float64{1, 0, -2}, got, 1e-9)
	assert.Empty(t, losses(nil, nil))
}

func TestTurnsFavourNobody(t *testing.T) {
	order := turns(4)
	assert.Equal(t, []bool{false, true, true, false, false, true, true, false}, order)
	// A machine that gets slower by as much at every run costs both the same.
	var sum [2]float64
	for i, with := range order {
		if with {
			sum[1] += float64(i)
		} else {
			sum[0] += float64(i)
		}
	}
	assert.Equal(t, sum[0], sum[1])
}

func TestNoiseIsBetweenNeighboursOfTheSameKind(t *testing.T) {
	got := noise([]float64{100, 50, 51, 100, 90, 50}, turns(3))
	assert.InDelta(t, (2.0+10.0)/2, got, 1e-9)
	assert.Zero(t, noise([]float64{1, 2}, turns(1)))
	assert.False(t, math.IsNaN(noise(nil, nil)))
}
