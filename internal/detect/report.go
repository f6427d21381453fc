// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "time"

// Report is what a detector says about itself, for status pages and its own
// telemetry.
type Report struct {
	// Decisions learned, and how many independent ones they are worth.
	Decisions int
	Effective float64
	// Autocorrelation is the mean lag-1 autocorrelation of whitened decisions.
	Autocorrelation float64
	// History is the healthy time that the limit is calibrated on.
	History time.Duration
	// Extrapolated: the limit aims beyond History.
	Extrapolated bool
	// Kurtosis is Mardia's multivariate kurtosis over that of a Gaussian: 1 is
	// Gaussian, more is heavier tails.
	Kurtosis float64
	// Disagreement between the online baseline and the robust audit of its
	// reservoir; 0 until an audit has been made.
	Disagreement float64
	// Season is the period found in the load: 0, a day or a week.
	Season time.Duration
	// Plateaus accepted as normal so far.
	Plateaus int
}

// Report fills r.
func (d *Detector) Report(r *Report) { *r = Report{Decisions: d.decisions, Effective: d.fast.base.Effective()} }
