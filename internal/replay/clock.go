// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"math"
	"strconv"
	"time"
)

// clock reads the cells of a time column. The zero value is not usable; see
// [newClock].
type clock struct {
	// unit is ns per unit of a number; 0: the cells are dates.
	unit int64
	// wall says that the times count from the Unix epoch.
	wall bool
}

// dates without a zone are UTC.
var dateLayouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"}

// newClock finds out how times are written from some of them: numbers count
// seconds, or by their magnitude milli-, micro- or nanoseconds since the epoch.
// It returns the index of the first cell that is no time, or -1.
func newClock(cells [][]byte) (c clock, odd int) {
	var greatest float64
	dates, seen := false, false
	for i, cell := range cells {
		cell = bytes.TrimSpace(cell)
		if v, ok := parseNumber(cell); ok {
			if !math.IsNaN(v) {
				greatest = max(greatest, math.Abs(v))
				seen = true
			}
		} else if _, ok := parseDate(cell); !ok {
			return clock{}, i
		} else {
			dates = true
		}
	}
	if dates && !seen {
		return clock{wall: true}, -1
	}
	switch {
	case greatest < 1e11:
		return clock{unit: 1e9, wall: greatest >= 1e9}, -1
	case greatest < 1e14:
		return clock{unit: 1e6, wall: true}, -1
	case greatest < 1e17:
		return clock{unit: 1e3, wall: true}, -1
	default:
		return clock{unit: 1, wall: true}, -1
	}
}

// parse returns the time in ns. A cell that is no time, or missing, is not ok.
func (c clock) parse(cell []byte) (ns int64, ok bool) {
	if len(cell) > 0 && (cell[0] == ' ' || cell[len(cell)-1] == ' ') {
		cell = bytes.TrimSpace(cell)
	}
	if c.unit == 0 {
		return parseDate(cell)
	}
	if ns, ok := parseDecimal(cell, c.unit); ok {
		return ns, true
	}
	v, err := strconv.ParseFloat(string(cell), 64)
	v *= float64(c.unit)
	if err != nil || !(math.Abs(v) < math.MaxInt64/2) {
		return 0, false
	}
	return int64(math.Round(v)), true
}

// parseDecimal reads plain decimals exactly, which a float64 of seconds since
// the epoch is not: its resolution is 0.2 µs.
func parseDecimal(cell []byte, unit int64) (int64, bool) {
	negative := len(cell) > 0 && cell[0] == '-'
	if negative {
		cell = cell[1:]
	}
	var whole, fraction int64
	i := 0
	for ; i < len(cell) && isDigit(cell[i]); i++ {
		if whole > math.MaxInt64/4/unit/10 {
			return 0, false
		}
		whole = 10*whole + int64(cell[i]-'0')
	}
	digits := i
	if i < len(cell) && cell[i] == '.' {
		place := unit
		for i++; i < len(cell) && isDigit(cell[i]); i++ {
			place /= 10
			fraction += place * int64(cell[i]-'0')
			digits++
		}
	}
	if digits == 0 || i < len(cell) {
		return 0, false
	}
	ns := whole*unit + fraction
	if negative {
		ns = -ns
	}
	return ns, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func parseDate(cell []byte) (int64, bool) {
	if len(cell) < len("2006-01-02T15:04:05") {
		return 0, false
	}
	for _, layout := range dateLayouts {
		t, err := time.Parse(layout, string(cell))
		if err == nil && t.Year() >= 1900 && t.Year() < 2190 { // differences fit an int64 of ns
			return t.UnixNano(), true
		}
	}
	return 0, false
}
