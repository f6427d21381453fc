// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package movers

import (
	"cmp"
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// activity are the columns whose growth counts as activity, all of them times.
var activity = []arc.CgroupField{
	arc.CgroupCPUTime,
	arc.CgroupPressureCPUSome,
	arc.CgroupPressureMemorySome,
	arc.CgroupPressureIOSome,
}

// Ranking compares sweeps. It is not safe for concurrent use.
type Ranking struct {
	n        int
	previous map[uint64]state
	sweeps   uint64
	moved    []mover
	rows     []int
}

type state struct {
	usage, activity uint64
	sweep           uint64
}

// mover is how far one row moved since the previous sweep.
type mover struct {
	row             int
	usage, activity uint64
	picked          bool
}

// New returns a ranking of the n cgroups that moved most.
func New(n int) *Ranking {
	return &Ranking{n: n, previous: map[uint64]state{}}
}

// Rank returns the rows of the movers since the previous call, in the order of
// the sweep. A cgroup seen for the first time moved by all it has. The rows are
// valid until the next call.
func (r *Ranking) Rank(s *arc.Sweep) []int {
	r.sweeps++
	r.moved = r.moved[:0]
	for i, id := range s.ID {
		now := state{usage: present(s.Value(arc.CgroupMemoryUsage, i)), sweep: r.sweeps}
		for _, f := range activity {
			now.activity += present(s.Value(f, i))
		}
		before := r.previous[id]
		r.previous[id] = now
		m := mover{row: i, usage: difference(now.usage, before.usage)}
		if now.activity > before.activity {
			m.activity = now.activity - before.activity
		}
		if m.usage > 0 || m.activity > 0 {
			r.moved = append(r.moved, m)
		}
	}
	r.forget(s.Len())
	return r.pick()
}

// forget drops the cgroups that the sweep no longer holds.
func (r *Ranking) forget(present int) {
	if len(r.previous) <= present {
		return
	}
	for id, was := range r.previous {
		if was.sweep != r.sweeps {
			delete(r.previous, id)
		}
	}
}

// pick takes the first half by activity and the rest by usage.
func (r *Ranking) pick() []int {
	r.rows = r.rows[:0]
	if len(r.moved) <= r.n {
		for _, m := range r.moved {
			r.rows = append(r.rows, m.row)
		}
		return r.rows
	}
	slices.SortStableFunc(r.moved, func(a, b mover) int { return cmp.Compare(b.activity, a.activity) })
	for i := range r.moved[:r.n/2] {
		if r.moved[i].activity > 0 {
			r.moved[i].picked = true
			r.rows = append(r.rows, r.moved[i].row)
		}
	}
	slices.SortStableFunc(r.moved, func(a, b mover) int { return cmp.Compare(b.usage, a.usage) })
	for i := range r.moved {
		if len(r.rows) == r.n {
			break
		}
		if !r.moved[i].picked {
			r.rows = append(r.rows, r.moved[i].row)
		}
	}
	slices.Sort(r.rows)
	return r.rows
}

// present takes a missing value for zero: what is not there does not move.
func present(v uint64) uint64 {
	if v == arc.Absent {
		return 0
	}
	return v
}

func difference(a, b uint64) uint64 {
	if a > b {
		return a - b
	}
	return b - a
}
