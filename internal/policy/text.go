// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// bytes writes a size for a human, in decimal units.
func bytes(b float64) string {
	switch {
	case b >= 1e9:
		return fmt.Sprintf("%.2f GB", b/1e9)
	case b >= 1e6:
		return fmt.Sprintf("%.1f MB", b/1e6)
	case b >= 1e3:
		return fmt.Sprintf("%.0f kB", b/1e3)
	}
	return fmt.Sprintf("%.0f B", b)
}

// String says the harm in words.
func (h Harm) String() string {
	switch h.Kind {
	case HarmLimit:
		return fmt.Sprintf("%s left of its limit of %s, exhausted in %s", bytes(float64(h.Available)), bytes(float64(h.Limit)), span(h.Exhaustion))
	case HarmNode:
		return fmt.Sprintf("%s left of the node's %s, exhausted in %s", bytes(float64(h.Available)), bytes(float64(h.Limit)), span(h.Exhaustion))
	case HarmStall:
		return fmt.Sprintf("tasks stalled on memory %.0f %% of the time", 100*h.Stall)
	case HarmTasksLimit:
		return fmt.Sprintf("%d tasks left of its limit of %d, exhausted in %s", h.Available, h.Limit, span(h.Exhaustion))
	case HarmTasksNode:
		return fmt.Sprintf("%d tasks left of the node's %d, exhausted in %s", h.Available, h.Limit, span(h.Exhaustion))
	case HarmCPU:
		return fmt.Sprintf("others wait for a CPU %.0f %% of the time", 100*h.Stall)
	case HarmIO:
		return fmt.Sprintf("others wait for I/O %.0f %% of the time", 100*h.Stall)
	case HarmIngress:
		return count(h.Growth) + " packets/s more than usual arrive"
	case HarmEgress:
		return count(h.Growth) + " packets/s more than usual are sent"
	}
	return "no harm in sight"
}

// count writes a number for a human.
func count(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1f million", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0f thousand", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

// amount says in words what an action's parameter asks for; "" where it has
// none worth saying.
func amount(a arc.Action, parameter uint64) string {
	switch a {
	case arc.ActionMemoryHigh:
		return "ceiling " + bytes(float64(parameter))
	case arc.ActionCPUWeight, arc.ActionIOWeight:
		return fmt.Sprintf("weight %d", parameter)
	case arc.ActionCPUMax:
		return fmt.Sprintf("at most %.2f CPUs", float64(parameter)/1e6)
	case arc.ActionIOMaxRead, arc.ActionIOMaxWrite, arc.ActionNetworkThrottle:
		return "at most " + bytes(float64(parameter)) + "/s"
	case arc.ActionPidsMax:
		return fmt.Sprintf("at most %d tasks", parameter)
	case arc.ActionShield:
		return fmt.Sprintf("at most %d packets/s from each source", parameter)
	}
	return ""
}

// maxReason bounds the reason of an order ([arc.Order]).
const maxReason = 256

// clip cuts a text to so many bytes, between characters.
func clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

func span(d time.Duration) string {
	if d == Never {
		return "never"
	}
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
