// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxDepth bounds the walk from a cgroup to the root.
const maxDepth = 64

// headroom returns what is left before the first limit above slot is met, that
// limit and whose it is: the least of column most minus column usage over the cgroup
// and its ancestors. Unlimited, and nobody's (-1), when nothing is known.
func (t *table) headroom(slot int32, usage, most arc.CgroupField, s *arc.Sample) (available, limit uint64, whose int32) {
	available, limit, whose = arc.Unlimited, arc.Unlimited, -1
	for depth := 0; slot >= 0 && depth < maxDepth; depth++ {
		bound, used := t.value(s, most, slot), t.value(s, usage, slot)
		if bound < arc.Unlimited && used != arc.Absent {
			if left := bound - min(bound, used); left < available {
				available, limit, whose = left, bound, slot
			}
		}
		slot = t.parent(slot)
	}
	return available, limit, whose
}

// exhaust projects when what is available runs out at rate a second.
func exhaust(kind HarmKind, available, limit uint64, rate float64) Harm {
	h := Harm{Kind: kind, Available: available, Limit: limit, Growth: rate, Exhaustion: Never}
	if kind != HarmNone && rate > 0 {
		if seconds := float64(available) / rate; seconds < Never.Seconds() {
			h.Exhaustion = time.Duration(seconds * 1e9)
		}
	}
	return h
}

// leading returns the fastest grower that does harm within horizon, or the
// fastest.
func leading(candidates []candidate, horizon time.Duration) *candidate {
	for i := range candidates {
		if candidates[i].harm.Exhaustion <= horizon {
			return &candidates[i]
		}
	}
	return &candidates[0]
}

// runnerUp returns the growth of the fastest that is not lead, and of which
// something else was expected.
func runnerUp(candidates []candidate, lead *candidate) float64 {
	second := 0.0
	for i := range candidates {
		if c := &candidates[i]; c != lead && !c.expected {
			second = max(second, c.effective)
		}
	}
	return second
}
