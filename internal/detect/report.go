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
	// Autocorrelation is the mean lag-1 autocorrelation of the dimensions.
	Autocorrelation float64
	// Shrinkage is the weight of the identity in the correlation matrix.
	Shrinkage float64
	// History is the healthy time that the limit is calibrated on.
	History time.Duration
	// Extrapolated: the limit aims beyond History.
	Extrapolated bool
	// Chart is the statistic that decided last: sudden, steady, drift, spread,
	// lasting or repeated.
	Chart string
	// Kurtosis is Mardia's multivariate kurtosis over that of a Gaussian: 1 is
	// Gaussian, more is heavier tails.
	Kurtosis float64
	// Apart: the slow baseline has a memory of its own.
	Apart bool
	// Season is the period found in the load: 0, a day or a week.
	Season time.Duration
	// Plateaus accepted as normal so far.
	Plateaus int
	// Missing names what the regime could not be judged by.
	Missing []string
}

// Report fills r.
func (d *Detector) Report(r *Report) {
	b, k := d.fast.base, &d.calibration
	*r = Report{
		Decisions: d.decisions, Effective: b.Effective(), Autocorrelation: b.Autocorrelation(), Shrinkage: b.shrinkage,
		History:      time.Duration(k.history() * k.seconds * float64(time.Second)),
		Extrapolated: d.extrapolated, Chart: chartNames[d.deciding], Kurtosis: d.kurtosis.ratio(),
		Apart: d.apart, Plateaus: d.plateaus, Missing: unknownIndicators,
	}
	if d.season != nil {
		r.Season = d.season.period()
	}
}
