// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"errors"
	"math"
	"strconv"
)

// parseNumber reads a cell. What is missing (empty, NaN, null, NA, none) or
// infinite is NaN; what is no number is not ok.
func parseNumber(cell []byte) (v float64, ok bool) {
	v, err := strconv.ParseFloat(string(cell), 64)
	if err != nil {
		return parseOddly(cell, err)
	}
	if math.IsInf(v, 0) {
		return math.NaN(), true
	}
	return v, true
}

func parseOddly(cell []byte, err error) (float64, bool) {
	if errors.Is(err, strconv.ErrRange) {
		return math.NaN(), true
	}
	trimmed := bytes.TrimSpace(cell)
	if len(trimmed) < len(cell) {
		return parseNumber(trimmed)
	}
	return math.NaN(), len(cell) == 0 || isOneOf(cell, "nan", "null", "na", "n/a", "none")
}

// isOneOf ignores case; the words are in lower case.
func isOneOf(cell []byte, words ...string) bool {
	for _, w := range words {
		if len(cell) == len(w) && bytes.EqualFold(cell, []byte(w)) {
			return true
		}
	}
	return false
}

// isMarked says whether a label marks its row as anomalous.
func isMarked(label []byte) bool {
	label = bytes.TrimSpace(label)
	if len(label) == 1 {
		return label[0] != '0' && label[0] != '-'
	}
	if v, ok := parseNumber(label); ok {
		return v != 0 && !math.IsNaN(v)
	}
	return !isOneOf(label, "false", "no", "normal", "healthy", "benign", "ok")
}
