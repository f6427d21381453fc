// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

// MaxContributions bounds the contributions a [Judgement] carries: the largest
// by absolute value.
const MaxContributions = 8

// Contribution is the part of D² that one dimension explains:
// c_j = d_j (Σ⁻¹ d)_j with d = x − μ. Contributions sum to D² over all
// dimensions and may be negative where a correlation explains a deviation away.
type Contribution struct {
	// Dimension is the name of the dimension. It never changes during the life
	// of an engine, so carrying it allocates nothing.
	Dimension string
	// Share is c_j.
	Share float64
	// Value is x_j as measured (a rate or a level, before any transform).
	Value float64
	// Usual is the baseline's centre for the dimension, in the unit of Value.
	Usual float64
}

// Judgement is what an engine says about one sample. The zero value is a
// judgement that has not been made (Ready is false).
type Judgement struct {
	// Sequence is that of the sample judged.
	Sequence uint64
	// Decided is the end of the decision period the judgement is about
	// (CLOCK_BOOTTIME, ns).
	Decided int64
	// Ready says that the baseline has seen enough to judge.
	Ready bool
	// Fresh says that this sample closed a decision period. When it is false,
	// score and contributions repeat the last decision; only the trend moved.
	Fresh bool
	// Anomalous is Score > Limit, for a ready engine.
	Anomalous bool
	// Frozen says that this sample was not learned.
	Frozen bool

	// Distance is the Mahalanobis distance D_M, Score the number compared with
	// Limit (for now the same scale as D_M).
	Distance float64
	Score    float64
	Limit    float64
	// Velocity and Acceleration are the filtered first and second derivatives
	// of Distance, per second and per second squared.
	Velocity     float64
	Acceleration float64
	// Direction is φ: the mean over dimensions with a load sign of
	// s_j (x_j − μ_j)/σ_j. Positive means more load than usual.
	Direction float64
	// Regime is the regime of the node, -3 to +5; 0 until regimes are judged.
	Regime int8
	// Deformation is ρ: how much the recent covariance differs from the
	// baseline's, as a share of the latter (Frobenius norms).
	Deformation float64
	// Extrapolated says that Limit aims at a longer interval than the healthy
	// history it is calibrated on, and therefore errs to the quiet side.
	Extrapolated bool
	// Accepted says that with this decision a new plateau, harmless and steady
	// for long enough, was taken for normal.
	Accepted bool
	// Confidence grows from 0 to 1 with the effective number of samples learned.
	Confidence float64

	// Contributions holds the first NumContributions entries, largest first.
	Contributions    [MaxContributions]Contribution
	NumContributions int
}

// Engine judges the samples of one source. Judge is called from the sampling
// goroutine only, fills j completely, does not allocate at steady state and
// keeps nothing of s.
type Engine interface {
	Judge(s *Sample, c Control, j *Judgement)
}
