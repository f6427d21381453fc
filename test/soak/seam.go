// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// tries is among how many places the one is chosen that fits best.
const tries = 256

// follow chooses where the tape goes on after tick last: of some places drawn at
// random the one before which the machine was most like what it is (a matched-block
// bootstrap: Carlstein, Do, Hall, Hesterberg and Künsch 1998). Where memory jumps,
// it would seem to grow.
func (s *Stream) follow(last int) int {
	ticks := s.tape.Ticks
	best, least := s.first, math.Inf(1)
	for range tries {
		at := s.draw()
		if near := at - 1 - last; near > -s.least/2 && near < s.least/2 {
			continue // that would hardly be another place
		}
		if d := distance(&ticks[last], &ticks[at-1]); d < least {
			best, least = at, d
		}
	}
	return best
}

// distance is how much memory would jump from a to b, in bytes: of the node, and
// of every cgroup, one that comes or goes included.
func distance(a, b *arc.Sample) float64 {
	d := math.Abs(a.Node[arc.NodeMemoryUsed]-b.Node[arc.NodeMemoryUsed]) +
		math.Abs(a.Node[arc.NodeMemoryAvailable]-b.Node[arc.NodeMemoryAvailable])
	if math.IsNaN(d) {
		d = 0
	}
	other := rows(&b.Cgroups)
	for row, id := range a.Cgroups.ID {
		there, ok := other[id]
		if !ok {
			d += bytesOf(&a.Cgroups, row)
			continue
		}
		d += math.Abs(bytesOf(&a.Cgroups, row) - bytesOf(&b.Cgroups, there))
		delete(other, id)
	}
	for _, row := range other {
		d += bytesOf(&b.Cgroups, row)
	}
	return d
}

func bytesOf(s *arc.Sweep, row int) float64 {
	v := s.Value(arc.CgroupMemoryUsage, row)
	if v == arc.Absent {
		return 0
	}
	return float64(v)
}
