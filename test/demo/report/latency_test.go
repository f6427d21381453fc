// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

func TestPercentileIsNearestRank(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i) // descending: it must sort
	}
	assert.Equal(t, 99.0, Percentile(hundred, 0.99))
	assert.Equal(t, 7.0, Percentile([]float64{7}, 0.99))
	assert.Equal(t, 2.0, Percentile([]float64{2, 1}, 0.99))
	assert.True(t, math.IsNaN(Percentile(nil, 0.99)))
}

func TestMedian(t *testing.T) {
	assert.Equal(t, 2.0, median([]float64{3, 1, 2}))
	assert.Equal(t, 1.5, median([]float64{9, 1, 0, 2}))
	assert.Zero(t, median(nil))
}

func TestWindowsHoldWhatWasDueInThem(t *testing.T) {
	ms := int64(time.Millisecond)
	answers := []recording.Answer{
		{Service: recording.Neighbour, Intended: -1, Latency: 900 * ms, OK: true}, // before
		{Service: recording.Neighbour, Intended: 0, Latency: 1 * ms, OK: true},
		{Service: recording.Payment, Intended: 5, Latency: 800 * ms, OK: true},                // somebody else's
		{Service: recording.Neighbour, Intended: 10*second - 1, Latency: 700 * ms, OK: false}, // given up counts
		{Service: recording.Neighbour, Intended: 10 * second, Latency: 2 * ms, OK: true},
		{Service: recording.Neighbour, Intended: 20 * second, Latency: 600 * ms, OK: true}, // after the last whole window
	}
	assert.Equal(t, []float64{700, 2}, windows(answers, recording.Neighbour, 0, 25*second, 10*time.Second))
}

func TestAWindowShortByASchedulingDelayCounts(t *testing.T) {
	answers := []recording.Answer{{Service: recording.Neighbour, Intended: 1, Latency: 1e6, OK: true}}
	assert.Len(t, windows(answers, recording.Neighbour, 0, 10*second-20_000_000, 10*time.Second), 1)
	assert.Empty(t, windows(answers, recording.Neighbour, 0, 9*second, 10*time.Second))
}
