// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import "bytes"

// cutLine splits b after its first line; the line comes without its newline.
func cutLine(b []byte) (line, rest []byte) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i], b[i+1:]
	}
	return b, nil
}

// cutField splits b after its first field; fields are separated by blanks.
func cutField(b []byte) (field, rest []byte) {
	start := 0
	for start < len(b) && isBlank(b[start]) {
		start++
	}
	end := start
	for end < len(b) && !isBlank(b[end]) {
		end++
	}
	return b[start:end], b[end:]
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// number reads b as a decimal number. What is no number, or does not fit, is
// reported as not ok.
func number(b []byte) (v uint64, ok bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		next := v*10 + uint64(c-'0')
		if v > (1<<64-1)/10 || next < v*10 {
			return 0, false
		}
		v = next
	}
	return v, true
}

// numbers fills into with the leading numbers of b and returns how many there
// were before the end, the first field that is no number, or the end of into.
func numbers(b []byte, into []uint64) int {
	for i := range into {
		var field []byte
		field, b = cutField(b)
		v, ok := number(field)
		if !ok {
			return i
		}
		into[i] = v
	}
	return len(into)
}
