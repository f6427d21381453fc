// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxCgroups bounds the cgroups that are followed.
const maxCgroups = 16384

// table gives every cgroup a slot for as long as it is there. What is followed
// of all cgroups is kept by slot, by followers that share the table.
type table struct {
	slots map[uint64]int32
	ids   []uint64 // by slot; 0 is free
	up    []int32  // slot of the parent, -1 for none
	upID  []uint64 // id of the parent, to notice a slot reused
	row   []int32  // row in the current sweep, -1 when absent
	seen  []int64  // instant last seen
	free  []int32
	last  []int32 // slot of each row of the previous sweep
	inner []bool  // by slot, as of [table.leaves]: others are below it

	followers []follower
	// remember is how long after it left a cgroup keeps its slot.
	remember int64
	// ignored counts cgroups left out because maxCgroups are followed.
	ignored uint64
}

// follower keeps something by slot.
type follower interface {
	// widen makes room for so many slots.
	widen(slots int)
	// clear forgets what a slot's former cgroup left behind.
	clear(slot int32)
}

func newTable() *table { return &table{slots: make(map[uint64]int32)} }

// add lets f follow; it loses a cgroup that left after span.
func (t *table) add(f follower, span int64) {
	t.followers = append(t.followers, f)
	t.remember = max(t.remember, span)
}

// observe takes one sweep made at instant now.
func (t *table) observe(now int64, sweep *arc.Sweep) {
	for i := range t.row {
		t.row[i] = -1
	}
	n := sweep.Len()
	if cap(t.last) < n {
		t.last = append(make([]int32, 0, n+n/4), t.last...)
	}
	known := len(t.last)
	t.last = t.last[:n]
	for i, id := range sweep.ID {
		slot := int32(-1)
		if i < known {
			slot = t.last[i]
		}
		// Sweeps come in the same order nearly always; the map is for the rest.
		if slot < 0 || t.ids[slot] != id {
			slot = t.slot(id, sweep.Parent[i])
		}
		t.last[i] = slot
		if slot >= 0 {
			t.row[slot], t.seen[slot] = int32(i), now
		}
	}
	t.forget(now, n)
}

// slot returns the slot of id, a new one if need be, -1 when there is none left.
func (t *table) slot(id, parent uint64) int32 {
	if s, ok := t.slots[id]; ok {
		return s
	}
	if id == 0 {
		return -1
	}
	var s int32
	if n := len(t.free); n > 0 {
		s, t.free = t.free[n-1], t.free[:n-1]
	} else {
		if len(t.ids) >= maxCgroups {
			t.ignored++
			return -1
		}
		s = int32(len(t.ids))
		t.ids, t.up, t.upID = append(t.ids, 0), append(t.up, -1), append(t.upID, 0)
		t.row, t.seen = append(t.row, -1), append(t.seen, 0)
		for _, f := range t.followers {
			f.widen(len(t.ids))
		}
	}
	t.slots[id] = s
	t.ids[s], t.upID[s], t.up[s] = id, parent, -1
	if p, ok := t.slots[parent]; ok {
		t.up[s] = p
	}
	for _, f := range t.followers {
		f.clear(s)
	}
	return s
}

// forget frees the slots of cgroups that left the sweep long enough ago for
// every follower to have lost them.
func (t *table) forget(now int64, present int) {
	if len(t.slots) <= present {
		return
	}
	for s, id := range t.ids {
		if id != 0 && t.row[s] < 0 && now-t.seen[s] > t.remember {
			delete(t.slots, id)
			t.ids[s] = 0
			t.free = append(t.free, int32(s))
		}
	}
}

// parent returns the slot of slot's parent, or -1.
func (t *table) parent(slot int32) int32 {
	p := t.up[slot]
	if p < 0 || t.ids[p] != t.upID[slot] || t.row[p] < 0 {
		return -1
	}
	return p
}

// leaves tells the cgroups that have others below them, and so no tasks of their
// own, from those at the ends of the tree.
func (t *table) leaves() {
	t.inner = slices.Grow(t.inner[:0], len(t.ids))[:len(t.ids)]
	clear(t.inner)
	for s, id := range t.ids {
		if id == 0 || t.row[s] < 0 {
			continue
		}
		if up := t.parent(int32(s)); up >= 0 { //nolint:gosec // bounded by maxCgroups
			t.inner[up] = true
		}
	}
}

// below says that slot is under is, or is it.
func (t *table) below(slot, is int32) bool {
	for depth := 0; slot >= 0 && depth < maxDepth; depth++ {
		if slot == is {
			return true
		}
		slot = t.parent(slot)
	}
	return false
}

// taken returns what slot uses of memory and swap, or [arc.Absent].
func (t *table) taken(s *arc.Sample, slot int32) uint64 {
	if slot < 0 || t.row[slot] < 0 {
		return arc.Absent
	}
	return taken(s, int(t.row[slot]))
}

// value returns column f of slot, or [arc.Absent].
func (t *table) value(s *arc.Sample, f arc.CgroupField, slot int32) uint64 {
	if slot < 0 || t.row[slot] < 0 {
		return arc.Absent
	}
	return s.Cgroups.Value(f, int(t.row[slot]))
}
