// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package detect is the mathematics of detection: it says how far a vector of
// measurements is from what it has usually been, how rare that is, how fast the
// distance grows, which dimensions explain it, and how far is too far.
// docs/detection.md tells the same to those who read scores.
//
// A [Vectoriser] turns successive raw values into x(t), whose distribution does
// not depend on the sampling rate. Two [Baseline] values learn mean and
// covariance, forgetting in hours and in days. Six charts watch each for what
// is sudden, repeated, steady, drifting, spread or lasting, and put it on one
// scale, rarity: excesses over the chart's own healthy quantile. The baselines,
// and a third opinion where the load has a season, must agree; the one that
// objects least counts. One limit on rarity comes from the history of healthy
// maxima, so that false episodes are a configured interval apart. A [Trend]
// follows velocity and acceleration. A [Detector] puts them together for any
// vector; an [Engine] for the node of an [arc.Sample].
//
// By file:
//
//	vectoriser, dimension  raw values to x(t), and the scale on which they are learned
//	baseline, cholesky     mean, covariance, shrinkage, distance, contributions
//	primer                 the robust beginning of a baseline
//	chart                  six statistics and their scale of rarity
//	opinion                one baseline's charts; which of them speaks
//	calibration            from the history of rarities to the limit
//	detector               agreement, judgement, learning
//	pending, stride        how long learning waits; which of many decisions it takes
//	alarm                  when learning stops, and what was a healthy spike
//	plateau, moments       when a new level is normal, and what the last minutes were
//	regime                 the same numbers as people read them
//	season                 what the hours of the day or the week are usually like
//	trend                  velocity and acceleration
//	audit                  a robust second look at the covariance
//	checkpoint             what was learned, over restarts
//	report, node, config   what a detector says of itself; the node preset; its keys
//
// The package promises: state bounded by the number of dimensions and no
// allocation once built, audits aside; that a missing, infinite or restarted
// input is missing, never zero and never poison; that nothing is learned while
// the control word forbids it, under an alarm of its own, or in the cool-off
// after one. That last freeze is bounded: a state that stays steady for
// RelearnAfter, no outside control and no harm meanwhile, is accepted as normal
// and reported, without a moment of blindness. A checkpoint that cannot be used
// is refused whole.
//
// It does not promise more than its history: until that is as long as the
// interval aimed at, the limit is an extrapolation, says so, and errs to the
// quiet side. What stays below the limit is learned, if cautiously and seconds
// later. A single
// anomalous decision is a reason to look, never to act: persistence, harm and a
// culprit are the policy's.
//
// The package refuses clocks, I/O, OpenTelemetry types and locks. The data's
// next stop is internal/policy, the mahalanobis processor, or internal/replay.
package detect
