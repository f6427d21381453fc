// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"time"

	"gonum.org/v1/gonum/stat/distuv"
)

// week is the time that rates are given for.
const week = 7 * 24 * time.Hour

// UpperBound is the greatest mean, at 95 % confidence, of a Poisson process of
// which n events were seen: half the 0.95 quantile of χ² with 2(n+1) degrees of
// freedom (Garwood 1936, eq. 1, one-sided).
func UpperBound(n int) float64 {
	return distuv.ChiSquared{K: 2 * float64(n+1)}.Quantile(0.95) / 2
}

// Rate is what a count says about how often something happens in a node-week.
type Rate struct {
	Count int     `json:"count"`
	Hours float64 `json:"hours"`
	Week  float64 `json:"per_node_week"`
	// Bound is the 95 % upper bound of Week.
	Bound float64 `json:"upper_95_per_node_week"`
}

// NewRate is the rate of n events in so long.
func NewRate(n int, in time.Duration) Rate {
	r := Rate{Count: n, Hours: in.Hours()}
	if in > 0 {
		weeks := in.Hours() / week.Hours()
		r.Week, r.Bound = float64(n)/weeks, UpperBound(n)/weeks
	}
	return r
}
