// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Known values: table 40 of Biometrika Tables for Statisticians (Pearson and
// Hartley 1966), 95 %, one-sided.
func TestUpperBoundsAreThoseOfTheTables(t *testing.T) {
	for n, want := range map[int]float64{0: 2.996, 1: 4.744, 2: 6.296, 3: 7.754, 5: 10.51, 10: 16.96, 50: 63.29} {
		assert.InDelta(t, want, UpperBound(n), 0.005, "%d events", n)
	}
}

func TestARateIsOfANodeWeek(t *testing.T) {
	r := NewRate(0, 3*time.Hour)
	assert.Zero(t, r.Week)
	assert.InDelta(t, 2.996*56, r.Bound, 0.05, "three hours are a 56th of a week")
	r = NewRate(2, 2*7*24*time.Hour)
	assert.InDelta(t, 1, r.Week, 1e-9)
	assert.InDelta(t, 6.296/2, r.Bound, 0.005)
	assert.Equal(t, Rate{Count: 1}, NewRate(1, 0))
}
