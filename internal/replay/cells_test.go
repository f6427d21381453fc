// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAClockIsReadFromTheFirstTimes(t *testing.T) {
	for _, tc := range []struct {
		cells []string
		want  int64
		wall  bool
	}{
		{[]string{"0", "1"}, 0, false},
		{[]string{"12.5", "13"}, 12_500_000_000, false},
		{[]string{"-3.25"}, -3_250_000_000, false},
		{[]string{" 7 "}, 7_000_000_000, false},
		{[]string{"1.5e3"}, 1500_000_000_000, false},
		{[]string{"1661140279"}, 1661140279_000_000_000, true},
		{[]string{"1661140279.123456789"}, 1661140279_123_456_789, true},
		{[]string{"1661140279123"}, 1661140279_123_000_000, true},
		{[]string{"1661140279123456"}, 1661140279_123_456_000, true},
		{[]string{"1661140279123456789"}, 1661140279_123_456_789, true},
		{[]string{"2022-08-22T03:51:19Z"}, 1661140279_000_000_000, true},
		{[]string{"2022-08-22T05:51:19.25+02:00"}, 1661140279_250_000_000, true},
		{[]string{"2022-08-22 03:51:19"}, 1661140279_000_000_000, true},
		{[]string{"2022-08-22 03:51:19.5+00:00"}, 1661140279_500_000_000, true},
	} {
		cells := make([][]byte, len(tc.cells))
		for i, c := range tc.cells {
			cells[i] = []byte(c)
		}
		c, odd := newClock(cells)
		require.Equal(t, -1, odd, tc.cells)
		assert.Equal(t, tc.wall, c.wall, tc.cells)
		ns, ok := c.parse(cells[0])
		assert.True(t, ok, tc.cells)
		assert.Equal(t, tc.want, ns, tc.cells)
	}
	_, odd := newClock([][]byte{[]byte("1"), []byte("yesterday")})
	assert.Equal(t, 1, odd)
	for _, cell := range []string{"", "x", "NaN", "1e300", "99999999999999999999", "."} {
		_, ok := clock{unit: 1e9}.parse([]byte(cell))
		assert.False(t, ok, cell)
	}
}

func TestCellsThatAreMissing(t *testing.T) {
	for _, cell := range []string{"", " ", "NaN", "nan", "null", "NA", "n/a", "None", "Inf", "-inf", "1e999"} {
		v, ok := parseNumber([]byte(cell))
		assert.True(t, ok && math.IsNaN(v), cell)
	}
	for _, cell := range []string{"x", "1 2", "12a", "true"} {
		_, ok := parseNumber([]byte(cell))
		assert.False(t, ok, cell)
	}
	v, ok := parseNumber([]byte(" -1.5e3 "))
	assert.True(t, ok)
	assert.Equal(t, -1500.0, v)
}

func TestLabelsThatMark(t *testing.T) {
	for _, label := range []string{"1", "1.0", "true", "cpu_contention", "x"} {
		assert.True(t, isMarked([]byte(label)), label)
	}
	for _, label := range []string{"", " ", "0", "0.0", "-", "false", "normal", "NaN", "None"} {
		assert.False(t, isMarked([]byte(label)), label)
	}
}

func TestSelectionPicksTheLastThatMatches(t *testing.T) {
	for _, tc := range []struct{ list, want string }{
		{"", "cpu:level mem.free:level mem.used:level net/rx:level"},
		{"cpu", "cpu:level"},
		{"mem.*", "mem.free:level mem.used:level"},
		{"!mem.*", "cpu:level net/rx:level"},
		{"!mem.*,mem.free:growth", "cpu:level mem.free:growth net/rx:level"},
		{"*,net*:counter", "cpu:level mem.free:level mem.used:level net/rx:rate"},
		{"*,!c?u", "mem.free:level mem.used:level net/rx:level"},
		{" cpu , net/rx:counter", "cpu:level net/rx:rate"},
		{"cpu:growth,cpu:gauge", "cpu:level"},
	} {
		s, err := ParseSelection(tc.list)
		require.NoError(t, err)
		var got []string
		for _, name := range []string{"cpu", "mem.free", "mem.used", "net/rx"} {
			if kind, _, taken := s.pick(name); taken {
				got = append(got, name+":"+kind.String())
			}
		}
		assert.Equal(t, tc.want, strings.Join(got, " "), tc.list)
	}
	_, err := ParseSelection("a,,b")
	assert.ErrorContains(t, err, "empty")
	assert.True(t, matches("*a*b", "xxaxxab"))
	assert.False(t, matches("*a*b", "xxaxxa"))
	assert.True(t, matches("mem.Active(anon)", "mem.Active(anon)"))
}
