// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"math"
	"strconv"
	"strings"
)

// Knobs are the files of a cgroup that limit it, io.max and all: what Reflex may
// turn, and what it promises never to.
var Knobs = []string{
	"memory.high", "cpu.weight", "cpu.idle", "cpu.max", "io.weight", "io.max", "pids.max", "cgroup.freeze",
	"memory.max", "memory.min", "memory.low", "memory.oom.group", "memory.swap.high", "memory.swap.max",
	"cpu.weight.nice", "cpu.max.burst", "io.latency", "cgroup.max.descendants", "cgroup.max.depth", "cgroup.subtree_control",
}

// Turnable is how many of the first of [Knobs] an action can turn: those that a
// suite has to watch closely.
const Turnable = 8

// Tighter reports whether the content after of a knob is a tighter limit than
// before.
func Tighter(knob, before, after string) bool {
	if before == after {
		return false
	}
	switch knob {
	case "cpu.idle", "cgroup.freeze":
		return limit(after) > limit(before)
	case "cpu.max":
		return share(after) < share(before)
	case "io.weight":
		return limit(strings.TrimPrefix(first(after), "default ")) < limit(strings.TrimPrefix(first(before), "default "))
	case "io.max":
		return deviceTighter(before, after)
	}
	return limit(after) < limit(before)
}

// limit reads a number or "max".
func limit(text string) float64 {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return math.Inf(1)
	}
	return v
}

// share reads "<quota> <period>" of cpu.max.
func share(text string) float64 {
	quota, period, _ := strings.Cut(strings.TrimSpace(text), " ")
	return limit(quota) / limit(period)
}

// Brief is the content of a knob on one line, cut short.
func Brief(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
	if len(text) > 60 {
		return text[:60] + "…"
	}
	return text
}

func first(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// deviceTighter compares the lines "<device> rbps=<n> wbps=<n> …" of io.max. A
// device without a line has no limit.
func deviceTighter(before, after string) bool {
	was := deviceLimits(before)
	for key, now := range deviceLimits(after) {
		old, limited := was[key]
		if !limited {
			old = math.Inf(1)
		}
		if now < old {
			return true
		}
	}
	return false
}

func deviceLimits(text string) map[string]float64 {
	limits := map[string]float64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i, field := range fields {
			if key, value, ok := strings.Cut(field, "="); ok && i > 0 {
				limits[fields[0]+" "+key] = limit(value)
			}
		}
	}
	return limits
}
