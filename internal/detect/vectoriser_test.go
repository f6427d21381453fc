// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const ms = int64(time.Millisecond)

var nan = math.NaN()

func plain(kinds ...Kind) []Dimension {
	dims := make([]Dimension, len(kinds))
	for i, k := range kinds {
		dims[i] = Dimension{Name: k.String(), Kind: k}
	}
	return dims
}

func TestVectoriser(t *testing.T) {
	type push struct {
		due, taken, interval int64 // ms
		raw                  float64
		tick                 Tick
		x                    float64
	}
	for _, tt := range []struct {
		name   string
		kind   Kind
		pushes []push
	}{
		{"a counter is its rate over the time measured, not planned", Rate, []push{
			{0, 0, 100, 50, TickNone, 0},
			{100, 110, 100, 61, TickDecision, 100},
			{200, 200, 100, 70, TickDecision, 100},
		}},
		{"a gauge is its level at the end", Level, []push{
			{0, 0, 100, 5, TickNone, 0}, {100, 100, 100, 7, TickDecision, 7},
		}},
		{"a gauge's growth may be negative", Growth, []push{
			{0, 0, 100, 5, TickNone, 0}, {100, 100, 100, 4, TickDecision, -10},
		}},
		{"a restarted counter is missing once", Rate, []push{
			{0, 0, 100, 50, TickNone, 0}, {100, 100, 100, 3, TickDecision, nan}, {200, 200, 100, 4, TickDecision, 10},
		}},
		{"missing is missing and not zero", Rate, []push{
			{0, 0, 100, 50, TickNone, 0},
			{100, 100, 100, nan, TickDecision, nan},
			{200, 200, 100, 60, TickDecision, nan},
			{300, 300, 100, 61, TickDecision, 10},
		}},
		{"infinite is missing", Level, []push{
			{0, 0, 100, 5, TickNone, 0}, {100, 100, 100, math.Inf(1), TickDecision, nan},
		}},
		{"missed ticks stretch a period", Rate, []push{
			{0, 0, 100, 0, TickNone, 0}, {300, 300, 100, 30, TickStretched, 100}, {400, 400, 100, 40, TickDecision, 100},
		}},
		{"an outage begins anew", Rate, []push{
			{0, 0, 100, 0, TickNone, 0}, {1100, 1100, 100, 30, TickNone, 0}, {1200, 1200, 100, 40, TickDecision, 100},
		}},
		{"time that runs back begins anew", Rate, []push{
			{500, 500, 100, 0, TickNone, 0}, {100, 100, 100, 30, TickNone, 0}, {200, 200, 100, 40, TickDecision, 100},
		}},
		{"a repeated tick is ignored", Rate, []push{
			{0, 0, 100, 0, TickNone, 0}, {0, 5, 100, 30, TickNone, 0}, {100, 100, 100, 10, TickDecision, 100},
		}},
		{"readings at one instant have no rate", Rate, []push{
			{0, 50, 100, 0, TickNone, 0}, {100, 50, 100, 30, TickDecision, nan},
		}},
		{"slower input sets its own period", Rate, []push{
			{0, 0, 0, 0, TickNone, 0},
			{10_000, 10_000, 0, 50, TickDecision, 5},
			{20_500, 20_500, 0, 155, TickDecision, 10},
			{30_000, 30_000, 0, 155, TickDecision, 0},
		}},
		{"late ticks keep their place on the grid", Rate, []push{
			{0, 0, 100, 0, TickNone, 0}, {100, 145, 100, 145, TickDecision, 1000}, {200, 201, 100, 201, TickDecision, 1000},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := NewVectoriser(plain(tt.kind), 100*time.Millisecond)
			for i, p := range tt.pushes {
				tick := v.Push(p.due*ms, p.taken*ms, p.interval*ms, []float64{p.raw})
				assert.Equal(t, p.tick, tick, "push %d", i)
				if tick == TickNone {
					continue
				}
				if math.IsNaN(p.x) {
					assert.True(t, math.IsNaN(v.X[0]), "push %d: %v", i, v.X[0])
				} else {
					assert.InDelta(t, p.x, v.X[0], 1e-9, "push %d", i)
				}
			}
		})
	}
}

func TestFasterSamplesSlideTheSameWindow(t *testing.T) {
	v := NewVectoriser(plain(Rate), 100*time.Millisecond)
	decisions := 0
	for k := range int64(200) {
		due := k * 10 * ms
		// 3 a sample, and a burst of 70 in the sample at 1 s.
		raw := 3 * float64(k)
		if k >= 100 {
			raw += 70
		}
		tick := v.Push(due, due, 10*ms, []float64{raw})
		switch {
		case k < 10:
			assert.Equal(t, TickNone, tick, "sample %d", k)
			continue
		case k%10 == 0:
			assert.Equal(t, TickDecision, tick, "sample %d", k)
			decisions++
		default:
			assert.Equal(t, TickTrend, tick, "sample %d", k)
		}
		want := 300.0
		if k >= 100 && k < 110 {
			want = 1000
		}
		assert.InDelta(t, want, v.X[0], 1e-9, "sample %d", k)
	}
	assert.Equal(t, 19, decisions)
}

func TestInputFasterThanTheHistoryStillSpansAPeriod(t *testing.T) {
	v := NewVectoriser(plain(Rate), 100*time.Millisecond)
	decisions := 0
	for k := range int64(5000) {
		if tick := v.Push(k*ms, k*ms, ms, []float64{float64(k)}); tick == TickDecision {
			decisions++
			assert.InDelta(t, 1000, v.X[0], 1e-9)
		}
	}
	assert.InDelta(t, 49, decisions, 1)
}

func TestTransformsInvert(t *testing.T) {
	for _, tf := range []Transform{Identity, Asinh, Log1p} {
		d := Dimension{Transform: tf, Scale: 3}.withDefaults()
		for _, v := range []float64{0, 0.1, 1, 17, 1e6} {
			assert.InDelta(t, v, d.inverse(d.forward(v)), 1e-6*(1+v))
		}
	}
}

func TestAbsurdValuesStaySquarable(t *testing.T) {
	for _, tf := range []Transform{Identity, Asinh, Log1p} {
		d := Dimension{Transform: tf, Scale: 1e-3}.withDefaults()
		for _, v := range []float64{1e300, -1e300} {
			assert.LessOrEqual(t, math.Abs(d.forward(v)), huge)
		}
	}
}

func FuzzVectoriser(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789abcdef0123456789abcdef"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v := NewVectoriser([]Dimension{
			{Kind: Rate, Transform: Log1p},
			{Kind: Level, Transform: Identity, Scale: 1e-300},
			{Kind: Growth, Transform: Asinh},
		}, 100*time.Millisecond)
		for len(data) >= 20 {
			due := int64(binary.LittleEndian.Uint32(data)) * ms / 64
			taken := due + int64(int32(binary.LittleEndian.Uint32(data[4:])))
			interval := int64(int32(binary.LittleEndian.Uint32(data[8:])))
			value := math.Float64frombits(binary.LittleEndian.Uint64(data[12:]))
			data = data[20:]
			if v.Push(due, taken, interval, []float64{value, value, value}) == TickNone {
				continue
			}
			for j, x := range v.X {
				if math.IsInf(x, 0) || math.Abs(x) > huge {
					t.Fatalf("x[%d] = %v for %v", j, x, value)
				}
			}
		}
	})
}
