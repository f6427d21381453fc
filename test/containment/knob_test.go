// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTighter(t *testing.T) {
	for _, c := range []struct {
		knob, before, after string
		want                bool
	}{
		{"memory.high", "max\n", "442761216\n", true},
		{"memory.high", "442761216\n", "442765312\n", false},
		{"memory.high", "442761216\n", "max\n", false},
		{"pids.max", "max\n", "120\n", true},
		{"pids.max", "max\n", "max\n", false},
		{"cpu.weight", "100\n", "1\n", true},
		{"cpu.weight", "100\n", "200\n", false},
		{"cpu.idle", "0\n", "1\n", true},
		{"cpu.idle", "1\n", "0\n", false},
		{"cgroup.freeze", "0\n", "1\n", true},
		{"cpu.max", "max 100000\n", "50000 100000\n", true},
		{"cpu.max", "50000 100000\n", "100000 200000\n", false},
		{"cpu.max", "50000 100000\n", "50000 200000\n", true},
		{"io.weight", "default 100\n", "default 10\n", true},
		{"io.weight", "default 10\n", "default 100\n8:0 50\n", false},
		{"io.max", "", "254:0 rbps=max wbps=1048576 riops=max wiops=max\n", true},
		{"io.max", "254:0 rbps=max wbps=1048576 riops=max wiops=max\n", "", false},
		{"io.max", "254:0 rbps=max wbps=2097152 riops=max wiops=max\n", "254:0 rbps=max wbps=1048576 riops=max wiops=max\n", true},
		{"io.max", "254:0 wbps=1048576\n", "254:0 wbps=1048576\n254:16 rbps=5\n", true},
	} {
		assert.Equal(t, c.want, Tighter(c.knob, c.before, c.after), "%s: %q to %q", c.knob, c.before, c.after)
	}
}

func TestAKnobIsToldOnOneShortLine(t *testing.T) {
	assert.Equal(t, "max", Brief("max\n"))
	assert.Equal(t, "a 1; b 2", Brief("a 1\nb 2\n"))
	assert.Len(t, []rune(Brief(string(make([]byte, 200)))), 61)
}
