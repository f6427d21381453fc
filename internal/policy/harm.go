// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxDepth bounds the walk from a cgroup to the root.
const maxDepth = 64

// headroom returns what is left before the first limit above slot is met, and
// that limit: the least of memory.max minus usage over the cgroup and its
// ancestors, and of the node's available memory. Unlimited when nothing is known.
func (g *growth) headroom(slot int32, s *arc.Sample) (available, limit uint64, kind HarmKind) {
	available, limit = arc.Unlimited, arc.Unlimited
	for depth := 0; slot >= 0 && depth < maxDepth; depth++ {
		row := int(g.row[slot])
		most, usage := s.Cgroups.Value(arc.CgroupMemoryMax, row), s.Cgroups.Value(arc.CgroupMemoryUsage, row)
		if most < arc.Unlimited && usage != arc.Absent {
			if left := most - min(most, usage); left < available {
				available, limit, kind = left, most, HarmLimit
			}
		}
		slot = g.parent(slot)
	}
	node, total := s.Node[arc.NodeMemoryAvailable], s.Node[arc.NodeMemoryTotal]
	if !math.IsNaN(node) && node >= 0 && !math.IsNaN(total) && total > 0 && node < float64(available) {
		available, limit, kind = uint64(node), uint64(total), HarmNode
	}
	return available, limit, kind
}

// project says what runs out first if slot keeps growing at rate bytes a second.
func (g *growth) project(slot int32, rate float64, s *arc.Sample) Harm {
	available, limit, kind := g.headroom(slot, s)
	h := Harm{Kind: kind, Available: available, Limit: limit, Growth: rate, Exhaustion: Never}
	if kind != HarmNone && rate > 0 {
		if seconds := float64(available) / rate; seconds < Never.Seconds() {
			h.Exhaustion = time.Duration(seconds * 1e9)
		}
	}
	return h
}

// stall measures the node's memory stall over about a second from a PSI counter
// in seconds.
type stall struct {
	at    [stallPoints]int64
	total [stallPoints]float64
	n     int
}

const (
	stallPoints = 12
	stallEvery  = 90 * int64(time.Millisecond)
)

// observe takes the counter at instant now and returns the share of the last
// second that was stalled, 0 while too little is known.
func (w *stall) observe(now int64, total float64) float64 {
	if math.IsNaN(total) {
		w.n = 0
		return 0
	}
	if w.n > 0 && (total < w.total[w.n-1] || now <= w.at[w.n-1]) {
		w.n = 0 // the counter restarted
	}
	if w.n == 0 || now-w.at[w.n-1] >= stallEvery {
		if w.n == stallPoints {
			copy(w.at[:], w.at[1:])
			copy(w.total[:], w.total[1:])
			w.n--
		}
		w.at[w.n], w.total[w.n] = now, total
		w.n++
	}
	if elapsed := now - w.at[0]; elapsed >= 5*stallEvery {
		return min((total-w.total[0])*1e9/float64(elapsed), 1)
	}
	return 0
}

// approach follows the time to exhaustion of the leading cgroup, to tell whether
// it comes nearer. Between neighbouring ticks the estimate of growth moves in
// steps, so that only a longer stretch tells.
type approach struct {
	id   uint64
	at   [approachPoints]int64
	left [approachPoints]time.Duration
	n    int
}

const (
	approachPoints = 8
	approachEvery  = 45 * int64(time.Millisecond)
	approachLeast  = 250 * int64(time.Millisecond)
)

// add takes the time left at instant now. Another cgroup starts again.
func (a *approach) add(id uint64, now int64, left time.Duration) {
	if a.id != id {
		*a = approach{id: id}
	}
	if a.n > 0 && now-a.at[a.n-1] < approachEvery {
		return
	}
	if a.n == approachPoints {
		copy(a.at[:], a.at[1:])
		copy(a.left[:], a.left[1:])
		a.n--
	}
	a.at[a.n], a.left[a.n] = now, left
	a.n++
}

// nearer says that exhaustion is nearer than it was.
func (a *approach) nearer() bool {
	return a.n > 1 && a.at[a.n-1]-a.at[0] >= approachLeast && a.left[a.n-1] < a.left[0]
}
