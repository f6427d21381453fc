// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxCgroups bounds the cgroups whose growth is followed.
const maxCgroups = 16384

// growth follows the memory usage of every cgroup over two windows. All cgroups
// share the tick's instant, so a window is a ring of rows (one per instant) over
// slots (one per cgroup) and following 1,000 cgroups is two contiguous writes.
type growth struct {
	slots map[uint64]int32
	ids   []uint64 // by slot; 0 is free
	up    []int32  // slot of the parent, -1 for none
	upID  []uint64 // id of the parent, to notice a slot reused
	row   []int32  // row in the current sweep, -1 when absent
	seen  []int64  // instant last seen
	free  []int32
	last  []int32 // slot of each row of the previous sweep

	// fast answers within 300 ms; slow sees growth that comes in bursts.
	fast, slow window
	// ignored counts cgroups left out because maxCgroups are followed.
	ignored uint64
}

func newGrowth() growth {
	return growth{
		slots: make(map[uint64]int32),
		fast:  newWindow(45e6, 500e6, 150e6),
		slow:  newWindow(190e6, 4e9, 1.2e9),
	}
}

// observe takes one sweep made at instant now.
func (g *growth) observe(now int64, sweep *arc.Sweep) {
	for i := range g.row {
		g.row[i] = -1
	}
	n := sweep.Len()
	if cap(g.last) < n {
		g.last = append(make([]int32, 0, n+n/4), g.last...)
	}
	known := len(g.last)
	g.last = g.last[:n]
	for i, id := range sweep.ID {
		slot := int32(-1)
		if i < known {
			slot = g.last[i]
		}
		// Sweeps come in the same order nearly always; the map is for the rest.
		if slot < 0 || g.ids[slot] != id {
			slot = g.slot(id, sweep.Parent[i])
		}
		g.last[i] = slot
		if slot >= 0 {
			g.row[slot], g.seen[slot] = int32(i), now
		}
	}
	g.forget(now, n)
	usage := sweep.Columns[arc.CgroupMemoryUsage]
	g.fast.observe(now, usage, g.last)
	g.slow.observe(now, usage, g.last)
}

// slot returns the slot of id, a new one if need be, -1 when there is none left.
func (g *growth) slot(id, parent uint64) int32 {
	if s, ok := g.slots[id]; ok {
		return s
	}
	if id == 0 {
		return -1
	}
	var s int32
	if n := len(g.free); n > 0 {
		s, g.free = g.free[n-1], g.free[:n-1]
	} else {
		if len(g.ids) >= maxCgroups {
			g.ignored++
			return -1
		}
		s = int32(len(g.ids))
		g.ids, g.up, g.upID = append(g.ids, 0), append(g.up, -1), append(g.upID, 0)
		g.row, g.seen = append(g.row, -1), append(g.seen, 0)
		g.fast.widen(len(g.ids))
		g.slow.widen(len(g.ids))
	}
	g.slots[id] = s
	g.ids[s], g.upID[s], g.up[s] = id, parent, -1
	if p, ok := g.slots[parent]; ok {
		g.up[s] = p
	}
	g.fast.clear(s)
	g.slow.clear(s)
	return s
}

// forget frees the slots of cgroups that left the sweep long enough ago for
// both windows to have lost them.
func (g *growth) forget(now int64, present int) {
	if len(g.slots) <= present {
		return
	}
	for s, id := range g.ids {
		if id != 0 && g.row[s] < 0 && now-g.seen[s] > g.slow.span {
			delete(g.slots, id)
			g.ids[s] = 0
			g.free = append(g.free, int32(s))
		}
	}
}

// parent returns the slot of slot's parent, or -1.
func (g *growth) parent(slot int32) int32 {
	p := g.up[slot]
	if p < 0 || g.ids[p] != g.upID[slot] || g.row[p] < 0 {
		return -1
	}
	return p
}

// rate estimates how fast the usage of slot grows, in bytes a second; 0 while
// too little is known. Both windows are robust: a single step is no growth.
func (g *growth) rate(slot int32) float64 {
	return max(g.fast.rate(slot), min(g.slow.rate(slot), g.slow.newest(slot)), 0)
}

// ongoing says that slot still grows at this moment, at a good part of rate.
func (g *growth) ongoing(slot int32, rate float64) bool {
	return g.fast.instant(slot, 40e6) >= rate/4
}

// window is a ring of usage rows. Its newest row is provisional: it is
// overwritten by each tick until step has passed since the row before.
type window struct {
	step, span, lag int64
	times           []int64
	usage           []uint64 // row*width + slot
	width           int      // slots a row holds
	head, n         int

	pairs []pair // rows lag apart, newest first; made once a tick
}

type pair struct {
	late, early int
	seconds     float64
}

func newWindow(step, span, lag int64) window {
	return window{step: step, span: span, lag: lag, times: make([]int64, span/step+3), pairs: make([]pair, 0, span/step+3)}
}

// widen makes room for so many slots.
func (w *window) widen(slots int) {
	if slots <= w.width {
		return
	}
	width := max(64, 2*w.width, slots)
	usage := make([]uint64, len(w.times)*width)
	for i := range usage {
		usage[i] = arc.Absent
	}
	for r := range w.times {
		copy(usage[r*width:], w.usage[r*w.width:(r+1)*w.width])
	}
	w.usage, w.width = usage, width
}

// clear forgets what a slot's former cgroup left behind.
func (w *window) clear(slot int32) {
	for r := range w.times {
		w.usage[r*w.width+int(slot)] = arc.Absent
	}
}

func (w *window) observe(now int64, usage []uint64, slots []int32) {
	if w.n > 0 && now < w.times[w.head] {
		w.n = 0 // time never goes back; start again rather than divide by it
	}
	if w.n < 2 || w.times[w.head]-w.times[w.at(1)] >= w.step {
		w.head = (w.head + 1) % len(w.times)
		w.n = min(w.n+1, len(w.times))
	}
	w.times[w.head] = now
	row := w.usage[w.head*w.width : (w.head+1)*w.width]
	for i := range row {
		row[i] = arc.Absent
	}
	for i, slot := range slots {
		if slot >= 0 && i < len(usage) {
			row[slot] = usage[i]
		}
	}
	w.pair(now)
}

// at returns the index of the row that is i rows older than the newest.
func (w *window) at(i int) int { return (w.head - i + len(w.times)) % len(w.times) }

// pair finds, for every row, the youngest row that is at least lag older.
func (w *window) pair(now int64) {
	w.pairs = w.pairs[:0]
	j := 0
	for i := 0; i < w.n; i++ {
		late := w.at(i)
		for j < w.n && w.times[late]-w.times[w.at(j)] < w.lag {
			j++
		}
		if j == w.n || now-w.times[w.at(j)] > w.span+w.step {
			return
		}
		early := w.at(j)
		w.pairs = append(w.pairs, pair{late, early, float64(w.times[late]-w.times[early]) / 1e9})
	}
}

// difference returns the growth over one pair in bytes a second.
func (w *window) difference(p pair, slot int32) (float64, bool) {
	a, b := w.usage[p.early*w.width+int(slot)], w.usage[p.late*w.width+int(slot)]
	if a == arc.Absent || b == arc.Absent {
		return 0, false
	}
	return (float64(b) - float64(a)) / p.seconds, true
}

// newest returns the growth over the newest lag, 0 when unknown.
func (w *window) newest(slot int32) float64 {
	if len(w.pairs) == 0 {
		return 0
	}
	d, _ := w.difference(w.pairs[0], slot)
	return d
}

// instant returns the growth over the youngest two rows at least apart, 0 when
// unknown: whether it goes on right now.
func (w *window) instant(slot int32, apart int64) float64 {
	for i := 1; i < w.n; i++ {
		late, early := w.head, w.at(i)
		if elapsed := w.times[late] - w.times[early]; elapsed >= apart {
			d, _ := w.difference(pair{late, early, float64(elapsed) / 1e9}, slot)
			return d
		}
	}
	return 0
}

// rate returns the lower median of the lagged differences, so that, at even
// spacing, one step (which fewer than half of them straddle) counts for
// nothing; 0 while fewer than three are known.
func (w *window) rate(slot int32) float64 {
	var sorted [32]float64
	n := 0
	for _, p := range w.pairs {
		d, ok := w.difference(p, slot)
		if !ok || n == len(sorted) {
			continue
		}
		i := n
		for ; i > 0 && sorted[i-1] > d; i-- {
			sorted[i] = sorted[i-1]
		}
		sorted[i] = d
		n++
	}
	if n < 3 {
		return 0
	}
	return sorted[(n-1)/2]
}

// grower is one cgroup that grows.
type grower struct {
	slot   int32
	growth float64 // descendants included
	own    float64 // without what its children account for
	sorted float64 // what it is ranked by
}

// ownShare of its growth must be a cgroup's own for the growth to be attributed
// to it and not to its children.
const ownShare = 0.9

// maxGrowers bounds the cgroups whose growth is estimated at one tick.
const maxGrowers = 48

// growers fills into with the cgroups that grow faster than least, by their own
// growth, fastest first.
func (g *growth) growers(least float64, into []grower) []grower {
	into = into[:0]
	for s := range g.ids {
		if g.ids[s] == 0 || g.row[s] < 0 {
			continue
		}
		// The newest difference is cheap and bounds who can matter.
		quick := max(g.fast.newest(int32(s)), g.slow.newest(int32(s)))
		if quick < least || math.IsNaN(quick) {
			continue
		}
		into = insert(into, grower{slot: int32(s), sorted: quick}, maxGrowers)
	}
	for i := range into {
		c := &into[i]
		c.growth = g.rate(c.slot)
		c.own = c.growth
	}
	for i := range into {
		p := g.parent(into[i].slot)
		for k := range into {
			if p >= 0 && into[k].slot == p {
				into[k].own -= into[i].growth
			}
		}
	}
	for i := range into {
		c := &into[i]
		c.sorted = c.own
		// A cgroup whose children hold the growth is not where it comes from.
		if c.own < ownShare*c.growth && hasGrowingChild(g, into, c.slot) {
			c.sorted = 0
		}
	}
	kept := into[:0]
	for _, c := range into {
		if c.sorted >= least {
			kept = insert(kept, c, maxGrowers)
		}
	}
	return kept
}

func hasGrowingChild(g *growth, among []grower, slot int32) bool {
	for i := range among {
		if among[i].slot != slot && g.parent(among[i].slot) == slot {
			return true
		}
	}
	return false
}

// insert puts c into list, which is sorted in descending order and holds at
// most limit entries.
func insert(list []grower, c grower, limit int) []grower {
	if len(list) == limit {
		if list[limit-1].sorted >= c.sorted {
			return list
		}
		list = list[:limit-1]
	}
	i := len(list)
	list = append(list, c)
	for ; i > 0 && list[i-1].sorted < c.sorted; i-- {
		list[i] = list[i-1]
	}
	list[i] = c
	return list
}
