// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package detector holds the detectors that are compared: the engine of Reflex
// and its challengers, behind one interface. All are deterministic.
package detector

import (
	"math"

	"github.com/otelcol-reflex/reflex/eval/internal/recording"
)

// Detector scores the rows of one recording in their order.
type Detector interface {
	// Fit warms the detector up on unlabelled rows that are mostly normal.
	Fit(prefix []recording.Row)
	// Score returns how anomalous the next row is, more being worse, and
	// whether the detector by its own limit would alarm. It may learn from the
	// row afterwards; it has not seen any later one.
	Score(row recording.Row) (score float64, alarm bool)
}

// Setting is what a detector may know about a recording beforehand.
type Setting struct {
	Columns  []string
	Interval float64 // s
	Prefix   int     // rows that Fit will get
	Seed     uint64
}

// Entry names a detector.
type Entry struct {
	Name   string
	Online bool // it keeps learning after Fit
	About  string
	New    func(Setting) Detector
}

// Ours is the name of the detector that the others challenge.
const Ours = "reflex"

// All returns the detectors in the order of the tables.
func All() []Entry {
	return []Entry{
		{Ours, true, "the engine of Reflex", newReflex},
		{"maha-online", true, "Mahalanobis, exponential forgetting, ridge, χ² limit", newOnlineMahalanobis},
		{"maxz-online", true, "greatest |z|, exponential forgetting", newOnlineMaxZ},
		{"rrcf-online", true, "robust random cut forest", newRandomCut},
		{"hstrees-online", true, "half-space trees", newHalfSpace},
		{"maha-static", false, "Mahalanobis, ridge, χ² limit", newStaticMahalanobis},
		{"maxz-static", false, "greatest |z|", newStaticMaxZ},
		{"pca-static", false, "residual of the principal components", newResidual},
		{"iforest-static", false, "isolation forest", newIsolation},
	}
}

// greatest score that is passed on.
const greatest = 1e12

// week in seconds.
const week = 7 * 24 * 3600

// finite makes a score usable for sorting.
func finite(score float64) float64 {
	if math.IsNaN(score) {
		return 0
	}
	return max(-greatest, min(greatest, score))
}
