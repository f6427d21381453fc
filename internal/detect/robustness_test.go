// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// requireFinite requires that no number of j is NaN or infinite.
func requireFinite(t *testing.T, j *arc.Judgement) {
	t.Helper()
	bad := false
	for _, v := range [...]float64{j.Distance, j.Score, j.Limit, j.Velocity, j.Acceleration, j.Direction, j.Deformation, j.Confidence} {
		bad = bad || v-v != 0
	}
	for k := range j.NumContributions {
		c := &j.Contributions[k]
		bad = bad || c.Share-c.Share != 0 || c.Value-c.Value != 0 || c.Usual-c.Usual != 0
	}
	if bad {
		t.Fatalf("not finite: %+v", *j)
	}
}

var absurdities = []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, 1e300, -1e50, 0}

func TestAbsurdInputNeverPoisons(t *testing.T) {
	type state struct {
		k, at int64
		x     []float64
		rng   *rand.Rand
	}
	all := func(v float64) func(*state) {
		return func(s *state) {
			for j := range s.x {
				s.x[j] = v
			}
		}
	}
	for name, disturb := range map[string]func(s *state){
		"NaN": all(math.NaN()), "infinities": all(math.Inf(-1)), "MaxFloat": all(math.MaxFloat64), "constants": all(7), "zeros": all(0),
		"one absurd value in ten": func(s *state) {
			if s.k%10 == 0 {
				s.x[s.rng.IntN(len(s.x))] = absurdities[s.rng.IntN(len(absurdities))]
			}
		},
		"collinear":  func(s *state) { s.x[1], s.x[2] = 3*s.x[0]-5, -s.x[0] },
		"duplicates": func(s *state) { s.x[1], s.x[2], s.x[3] = s.x[0], s.x[0], s.x[0] },
		"the clock jumps": func(s *state) {
			if s.k%40 == 0 {
				s.at += int64(s.rng.IntN(9)-4) * int64(time.Hour)
			}
		},
		"repeated timestamps": func(s *state) { s.at -= s.k % 2 * 100 * ms },
		"vanish and return": func(s *state) {
			for j := range s.x {
				if s.k/64>>j&1 == 1 {
					s.x[j] = math.NaN()
				}
			}
		},
		"scales apart": func(s *state) { s.x[0], s.x[1] = s.x[0]*1e9, s.x[1]*1e-9 },
		"extremes of the clock": func(s *state) {
			if s.k%100 == 50 {
				s.at = math.MaxInt64 - 1
			}
		},
	} {
		for kind, dims := range map[string][]Dimension{
			"free": freeDimensions(5), "gauges": gauges(5, 0.1), "least floors": gauges(5, 1e-155),
			"growing": {{Kind: Growth, Transform: Asinh}, {Kind: Rate, Transform: Log1p}, {Transform: Asinh}, {Transform: Log1p}, {Scale: 1e300}},
		} {
			for _, from := range []int64{0, 1500} {
				d, p := New(Config{Dimensions: dims, FalseAlarmInterval: 24 * time.Hour}), newProcess(1, 5, 0.5, false)
				s := state{rng: p.rng, at: 1e12}
				var j arc.Judgement
				for s.k = range from + 2000 {
					s.x = p.next()
					now := s.at
					if s.k >= from {
						disturb(&s)
					}
					d.Step(Instant{Due: s.at, Taken: s.at, Interval: 100 * ms, Wall: s.at}, s.x, arc.Control{}, &j)
					requireFinite(t, &j)
					if s.at == math.MaxInt64-1 {
						s.at = now
					}
					s.at += 100 * ms
				}
				switch {
				case kind != "free" && kind != "gauges", name == "scales apart":
					continue // plain input means something else to them
				case from > 0:
				case name == "constants", name == "zeros", name == "MaxFloat", name == "collinear", name == "duplicates":
					continue // it was learned as normal, and is different now
				}
				var sum float64
				const plainly = 500
				for k := range 7000 + plainly {
					s.at += 100 * ms
					d.Step(Instant{Due: s.at, Taken: s.at, Interval: 100 * ms, Wall: s.at}, p.next(), arc.Control{}, &j)
					if k >= 7000 {
						sum += j.Distance / plainly
					}
				}
				assert.True(t, j.Ready, "%s, %s from %d", name, kind, from)
				assert.Less(t, sum, 6.0, "%s, %s from %d", name, kind, from)
			}
		}
	}
}

// FuzzDetector decodes steps of twelve bytes: which dimension takes which value,
// how the clocks move, what the policy asks.
func FuzzDetector(f *testing.F) {
	f.Add([]byte("a seed of more than twelve bytes, and then some"))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		d := New(Config{
			Dimensions: []Dimension{Free("a"), Free("b"), {Name: "c", Kind: Rate, Transform: Log1p}, {Name: "d", Kind: Growth, Transform: Asinh, Load: 1}, {Name: "e", Floor: 1e-300, Load: -1}},
			Warmup:     time.Second, RelearnAfter: time.Second, CoolOff: time.Second,
		})
		p := newProcess(1, 5, 0.5, false)
		var j arc.Judgement
		at := int64(1e12)
		take := func(x []float64, wall int64, c arc.Control) {
			at += 100 * ms
			d.Step(Instant{Due: at, Taken: at, Interval: 100 * ms, Wall: wall}, x, c, &j)
			requireFinite(t, &j)
		}
		for range 100 {
			take(p.next(), at, arc.Control{})
		}
		for len(data) >= 12 {
			x := p.next()
			value := math.Float64frombits(binary.LittleEndian.Uint64(data))
			how := data[8]
			for j := range x {
				if how>>j&1 == 1 {
					x[j] = value
				}
			}
			if how&0x80 != 0 {
				at += int64(int16(binary.LittleEndian.Uint16(data[9:]))) * int64(time.Minute) / 64
			}
			c := arc.Control{Harm: data[11]&1 == 1, LeaseHeld: data[11]&2 == 2}
			for range 1 + int(data[11]>>3) {
				take(x, int64(value), c)
			}
			data = data[12:]
		}
		for range 50 {
			take(p.next(), at, arc.Control{})
		}
	})
}
