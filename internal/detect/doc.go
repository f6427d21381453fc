// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package detect is the mathematics of detection: it says how far a vector of
// measurements is from what it has usually been, how fast that distance grows,
// which dimensions explain it, and how far is too far.
//
// A [Vectoriser] turns successive raw values into x(t), whose distribution does
// not depend on the sampling rate. A [Baseline] learns mean and covariance,
// forgetting exponentially, and scores x(t) by its Mahalanobis distance D_M. A
// limit in the unit of D_M comes from the theory of as many observations as the
// memory is effectively worth, raised to the empirical tail of healthy scores.
// A [Trend] follows velocity and acceleration. A [Detector] puts them together
// for any vector; an [Engine] for the node of an [arc.Sample].
//
// Two charts share the limit. The distance itself sees what is sudden. A
// multivariate EWMA of clipped deviations sees what persists, which is how a
// leak stands out of allocation bursts that are larger than it. The score is
// the greater of the two, each relative to its own limit.
//
// The package promises: state bounded by the number of dimensions and no
// allocation once built; that a missing, infinite or restarted input is
// missing, never zero and never poison; that nothing is learned while the
// control word forbids it, under an alarm of its own, or in the cool-off after
// one. That last freeze is bounded: a new level that lasts for RelearnAfter, no
// outside control and no harm meanwhile, is accepted as normal and learned from
// nothing, and until the warm-up has passed again the detector is not ready.
//
// The limit is honest near the data and an extrapolation beyond it. It aims at
// a mean time between false anomalous decisions; in the first minutes, when a
// few hundred correlated decisions stand for all of normal life, expect the
// real one to be shorter. A single anomalous decision is therefore a reason to
// look, never to act: persistence, harm and a culprit are the policy's.
//
// The package refuses clocks, I/O, OpenTelemetry types and locks. The data's
// next stop is internal/policy, or the mahalanobis processor.
package detect
