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
	// Learned is x itself. Where its location and scale lie is learned from its
	// own values, and what is far out counts logarithmically from there.
	Learned
)

// Dimension describes one coordinate of x(t).
type Dimension struct {
	// Name is the dimension's name as it appears in telemetry.
	Name string
	Kind Kind
	// Transform and Scale, in the unit of the dimension (per second for Rate
	// and Growth). A Scale of zero means 1. Learned has no Scale.
	Transform Transform
	Scale     float64
	// Floor is the least standard deviation the baseline ever assumes, in
	// transformed units, so that a dimension that has always been constant does
	// not turn its first twitch into an infinite score. Zero means DefaultFloor;
	// under Learned, a hundredth of the largest magnitude seen.
	Floor float64
	// Load is +1 where more of it means more load, -1 where less of it does, 0
	// where it says nothing.
	Load int8
}

// Free returns a dimension for a gauge that nobody described: its location and
// scale are learned from its own values.
func Free(name string) Dimension { return Dimension{Name: name, Kind: Level, Transform: Learned} }

// DefaultFloor is the floor of a dimension that names none: a tenth of a
// natural logarithm, about 10 %, for dimensions under Asinh or Log1p.
const DefaultFloor = 0.1

const (
	// huge bounds transformed values, so that squares stay finite.
	huge = 1e9
	// vast bounds learned ones, whose unit is unknown: no metric is so large, and
	// what claims to be is missing.
	vast = 1e24
	// leastFloor keeps the square of a deviation from a constant finite.
	leastFloor = 1e-100
	// bend is the number of standard deviations beyond which a learned dimension
	// counts logarithmically: without it the heaviest tail owns the distance.
	bend = 2
)

// withDefaults returns d with Scale and Floor set.
func (d Dimension) withDefaults() Dimension {
	if !(d.Scale > 0) || math.IsInf(d.Scale, 0) || d.Transform == Learned {
		d.Scale = 1
	}
	if !(d.Floor > 0) || math.IsInf(d.Floor, 0) {
		d.Floor = DefaultFloor
		if d.Transform == Learned {
			d.Floor = 0
		}
	} else {
		d.Floor = max(d.Floor, leastFloor)
	}
	return d
}

// knee is the deviation in σ beyond which the dimension counts logarithmically.
func (d *Dimension) knee() float64 {
	if d.Transform == Learned {
		return bend
	}
	return math.Inf(1)
}

// forward maps a measured value to the scale on which it is learned. NaN and
// the infinities are missing and map to NaN.
func (d *Dimension) forward(v float64) float64 {
	if d.Transform == Learned {
		if !(math.Abs(v) <= vast) { // or NaN
			return math.NaN()
		}
		return v
	}
	v /= d.Scale
	if v-v != 0 { // NaN, ±Inf
		return math.NaN()
	}
	switch d.Transform {
	case Asinh:
		// log(|v| + √(v²+1)); math.Log is in assembly where math.Asinh is not.
		a := math.Abs(v)
		if a < 1e-4 {
			return v
		}
		if a > 1e8 {
			a = math.Log(a) + math.Ln2
		} else {
			a = math.Log(a + math.Sqrt(a*a+1))
		}
		return math.Copysign(a, v)
	case Log1p:
		if v <= 0 {
			return 0
		}
		return math.Log(1 + v)
	default:
		return max(-huge, min(huge, v))
	}
}

// inverse maps a learned value back to the unit of the dimension.
func (d *Dimension) inverse(x float64) float64 {
	v := x
	switch d.Transform {
	case Asinh:
		v = math.Sinh(x)
	case Log1p:
		v = math.Expm1(x)
	}
	return max(-math.MaxFloat64, min(math.MaxFloat64, d.Scale*v))
}
