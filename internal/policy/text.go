// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"
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

// describe says the harm in words.
func (h Harm) describe() string {
	switch h.Kind {
	case HarmLimit:
		return fmt.Sprintf("%s left of its limit of %s, exhausted in %s", bytes(float64(h.Available)), bytes(float64(h.Limit)), span(h.Exhaustion))
	case HarmNode:
		return fmt.Sprintf("%s left of the node's %s, exhausted in %s", bytes(float64(h.Available)), bytes(float64(h.Limit)), span(h.Exhaustion))
	case HarmStall:
		return fmt.Sprintf("tasks stalled on memory %.0f %% of the time", 100*h.Stall)
	}
	return "no harm in sight"
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
