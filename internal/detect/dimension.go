// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// Kind says what a dimension takes from its raw input.
type Kind uint8

const (
	// Level takes a gauge as it is at the end of the decision period.
	Level Kind = iota
	// Rate takes a counter's difference over the decision period, per second.
	Rate
	// Growth takes a gauge's difference over the decision period, per second.
	Growth
)

// String returns the lower-case name of the kind.
func (k Kind) String() string {
	switch k {
	case Rate:
		return "rate"
	case Growth:
		return "growth"
	default:
		return "level"
	}
}

// Transform tames the tail of a dimension before it is learned.
type Transform uint8

const (
	// Identity is x/scale.
	Identity Transform = iota
	// Asinh is asinh(x/scale): linear near zero, logarithmic in both tails. For
	// quantities with a sign.
	Asinh
	// Log1p is log(1+x/scale) for x ≥ 0: for rates, counts and sizes.
	Log1p
)

// Dimension describes one coordinate of x(t).
type Dimension struct {
	// Name is the dimension's name as it appears in telemetry.
	Name string
	Kind Kind
	// Transform and Scale, in the unit of the dimension (per second for Rate
	// and Growth). A Scale of zero means 1.
	Transform Transform
	Scale     float64
	// Floor is the least standard deviation the baseline ever assumes, in
	// transformed units, so that a dimension that has always been constant does
	// not turn its first twitch into an infinite score. Zero means DefaultFloor.
	Floor float64
	// Load is +1 where more of it means more load, -1 where less of it does, 0
	// where it says nothing.
	Load int8
}

// Free returns a dimension for a gauge that nobody described: its location and
// scale are learned from its own values.
func Free(name string) Dimension { return Dimension{Name: name, Kind: Level, Transform: Asinh} }

// DefaultFloor is the floor of a dimension that names none: a tenth of a
// natural logarithm, about 10 %, for dimensions under Asinh or Log1p.
const DefaultFloor = 0.1

// huge bounds transformed values, so that squares stay finite.
const huge = 1e9

// withDefaults returns d with Scale and Floor set.
func (d Dimension) withDefaults() Dimension {
	if !(d.Scale > 0) || math.IsInf(d.Scale, 0) {
		d.Scale = 1
	}
	if !(d.Floor > 0) || math.IsInf(d.Floor, 0) {
		d.Floor = DefaultFloor
	}
	return d
}

// forward maps a measured value to the scale on which it is learned. NaN and
// the infinities are missing and map to NaN.
func (d *Dimension) forward(v float64) float64 {
	v /= d.Scale
	if v-v != 0 { // NaN, ±Inf
		return math.NaN()
	}
	switch d.Transform {
	case Asinh:
		return math.Asinh(v)
	case Log1p:
		if v <= 0 {
			return 0
		}
		return math.Log1p(v)
	default:
		return max(-huge, min(huge, v))
	}
}

// inverse maps a learned value back to the unit of the dimension.
func (d *Dimension) inverse(x float64) float64 {
	switch d.Transform {
	case Asinh:
		return d.Scale * math.Sinh(x)
	case Log1p:
		return d.Scale * math.Expm1(x)
	default:
		return d.Scale * x
	}
}
