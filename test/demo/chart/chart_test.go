// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestDrawingIsWellFormedAndNamesNoAddress(t *testing.T) {
	c := Chart{
		Label: `memory <of> "payment" & friends`, From: -60, To: 60,
		Bands: []Band{{From: -100, To: 5, Class: "level", Label: "level <1>"}, {From: 70, To: 80}},
		Rules: []Rule{{At: 0, Vertical: true, Label: "leak & begin"}, {At: 7, Label: "<max>"}},
		Lines: []Line{
			{Label: "with <b>", Class: "with", Points: []Point{{-60, 1}, {0, math.NaN()}, {1, math.Inf(1)}, {60, 3}}, Step: true},
			{Label: "empty", Class: "without"},
		},
	}
	svg := string(c.SVG())
	wellFormed(t, svg)
	assert.NotContains(t, svg, "//")
	assert.NotContains(t, svg, "NaN")
	assert.NotContains(t, svg, "Inf")
	assert.Contains(t, svg, "with &lt;b&gt;")
}

func TestAChartWithoutDataIsADrawing(t *testing.T) {
	for _, c := range []Chart{{From: 0, To: 1}, {From: 0, To: 1, Log: true, Floor: 1}} {
		wellFormed(t, string(c.SVG()))
		assert.NotContains(t, string(c.SVG()), "NaN")
	}
}

func TestAValueThatIsNotFiniteLeavesAGap(t *testing.T) {
	c := Chart{From: 0, To: 4, Lines: []Line{{Points: []Point{{0, 1}, {1, 1}, {2, math.NaN()}, {3, 1}, {4, 1}}}}}
	assert.Equal(t, 2, strings.Count(string(c.SVG()), "M"), "the path is lifted once")
}

func TestTicksAreRound(t *testing.T) {
	for _, tc := range []struct {
		scale scale
		n     int
		want  []float64
	}{
		{scale{from: -60, to: 60}, 6, []float64{-60, -40, -20, 0, 20, 40, 60}},
		{scale{from: 0, to: 2.5}, 4, []float64{0, 1, 2}},
		{scale{from: 1, to: 1000, log: true}, 4, []float64{1, 10, 100, 1000}},
		{scale{from: -1, to: 1}, 2, []float64{-1, 0, 1}},
	} {
		got := tc.scale.ticks(tc.n)
		assert.InDeltaSlice(t, tc.want, got, 1e-9)
		for _, v := range got {
			assert.False(t, v == 0 && math.Signbit(v), "no negative zero")
		}
	}
}

func TestTheAxisEndsAboveTheData(t *testing.T) {
	for _, v := range []float64{0, 0.3, 1, 99, 100, 101, 2.2e9} {
		assert.Greater(t, top(0, v, false), v)
		assert.Greater(t, top(1, v, true), v)
	}
	assert.Greater(t, top(5, 5, false), 5.0)
}

func TestThinningKeepsASpike(t *testing.T) {
	var points []Point
	for i := range 100_000 {
		points = append(points, Point{X: float64(i) / 1000, Y: 1})
	}
	points[54_321].Y = 100
	points[54_400].Y = -100
	thinned := thin(points, 0.1)
	assert.Less(t, len(thinned), 2100)
	var low, high float64
	for _, p := range thinned {
		low, high = min(low, p.Y), max(high, p.Y)
	}
	assert.Equal(t, -100.0, low)
	assert.Equal(t, 100.0, high)
}
