// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// habitFor is how long a crest is remembered at least; twice that at most.
	habitFor = 24 * int64(time.Hour)
	// faster is by how much growth may exceed the fastest known, and a sixteenth by
	// how much usage may pass the highest: records fall without anything wrong.
	faster = 1.5
	higher = 4 // as a shift
	// aftermath is for how long growth must find room beyond the crest, so that
	// there is time to act if it does not come back.
	aftermath = 10 * time.Second
	// ripple is the rise below which coming back is no event.
	ripple = 4 << 20
)

// habits knows, of every cgroup, how high its usage has risen in normal behaviour
// before it came back by itself, and how fast it rose: the waves of a garbage
// collector, a build, a batch. Who does the same again does no harm, however it
// looks in a straight line, while there is room for the whole of it. A leak never
// comes back and so has no habit.
type habits struct {
	growth *growth
	turned int64 // when the generations last changed
	waves  []wave
}

// wave is usage on its way up, and the crests of those that came back.
type wave struct {
	low, top uint64
	pace     float64 // the fastest growth on the way up, bytes a second
	crests   [2]crest
}

// crest is the most of a generation, the current one or the one before.
type crest struct {
	height uint64
	pace   float64
}

func newHabits(g *growth) *habits {
	h := &habits{growth: g}
	g.add(h, 0)
	return h
}

func (h *habits) widen(slots int) {
	for len(h.waves) < slots {
		h.waves = append(h.waves, wave{low: arc.Absent})
	}
}

func (h *habits) clear(slot int32) { h.waves[slot] = wave{low: arc.Absent} }

// observe follows the waves at instant now. Without learn it only keeps up: what
// rises or falls meanwhile is no habit.
func (h *habits) observe(now int64, s *arc.Sample, learn bool) {
	if now-h.turned >= habitFor {
		h.turned = now
		for i := range h.waves {
			w := &h.waves[i]
			w.crests[1], w.crests[0] = w.crests[0], crest{}
		}
	}
	for row, slot := range h.growth.last {
		if slot < 0 {
			continue
		}
		w, usage := &h.waves[slot], s.Cgroups.Value(h.growth.column, row)
		switch {
		case usage == arc.Absent:
		case !learn || w.low == arc.Absent || usage < w.low:
			w.low, w.top, w.pace = usage, usage, 0
		case usage > w.top:
			w.top, w.pace = usage, max(w.pace, h.growth.slow.newest(slot))
		case w.top-w.low >= ripple && w.top-usage >= (w.top-w.low)/2:
			c := &w.crests[0]
			c.height, c.pace = max(c.height, w.top), max(c.pace, w.pace)
			w.low, w.top, w.pace = usage, usage, 0
		}
	}
}

// crest returns the height that slot has come back from, 0 for none.
func (h *habits) crest(slot int32) uint64 {
	w := &h.waves[slot]
	return max(w.crests[0].height, w.crests[1].height)
}

// expects says that the growth of slot, now at usage, is like it and leaves room
// in available.
func (h *habits) expects(slot int32, usage, available uint64) bool {
	w, top := &h.waves[slot], h.crest(slot)
	top += top >> higher
	if usage == arc.Absent || usage >= top {
		return false
	}
	rate := h.growth.slow.newest(slot)
	return rate <= faster*max(w.crests[0].pace, w.crests[1].pace) && float64(top-usage)+rate*aftermath.Seconds() < float64(available)
}
