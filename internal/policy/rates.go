// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/otelcol-reflex/reflex/internal/arc"

// rates follows a counter of every cgroup: how fast it runs now, over about a
// second, and how fast it usually does.
type rates struct {
	*table
	columns [2]arc.CgroupField // added up; the same twice is one
	scale   float64            // of the counter's unit

	window  window
	sums    []uint64
	usually []float64 // by slot, a second
	seenFor []int32   // by slot: seconds learned from
	learned int64
	began   int64 // of the first sweep
}

const (
	rateSpan = 1_200 * int64(1e6)
	rateLag  = 900 * int64(1e6)
	// usualOver is over how many seconds what is usual is averaged.
	usualOver = 60
	// established is for how many seconds a cgroup must have been seen before it
	// has something usual to lose.
	established = 5
	// acquaintance is for how many ns at first what is usual is learned whatever the
	// level: a node that is unusual when Reflex is started may stay so for long, and
	// where nothing is known to be usual, nobody is seen to be harmed, and everything
	// that anybody does is more than usual.
	acquaintance = 8 * int64(1e9)
)

func newRates(t *table, scale float64, columns ...arc.CgroupField) *rates {
	r := &rates{table: t, scale: scale, columns: [2]arc.CgroupField{columns[0], columns[len(columns)-1]}, window: newWindow(90e6, rateSpan, rateLag)}
	t.add(r, rateSpan)
	return r
}

func (r *rates) widen(slots int) {
	r.window.widen(slots)
	for len(r.usually) < slots {
		r.usually, r.seenFor = append(r.usually, 0), append(r.seenFor, 0)
	}
}

func (r *rates) clear(slot int32) {
	r.window.clear(slot)
	r.usually[slot], r.seenFor[slot] = 0, 0
}

// follow takes one sweep made at instant now, which the table has seen. learn
// says that it is usual; the first ones are taken for it.
func (r *rates) follow(now int64, sweep *arc.Sweep, learn bool) {
	if w := &r.window; w.n > 0 && now >= w.times[w.head] && now-w.times[w.head] < w.step {
		return // a counter loses nothing in between
	}
	column := sweep.Columns[r.columns[0]]
	if other := sweep.Columns[r.columns[1]]; r.columns[0] != r.columns[1] && len(other) == len(column) {
		r.sums = r.sums[:0]
		for i, v := range column {
			if v != arc.Absent && other[i] != arc.Absent {
				v += other[i]
			}
			r.sums = append(r.sums, v)
		}
		column = r.sums
	}
	if len(column) == 0 {
		return // the source does not know it
	}
	if r.began == 0 {
		r.began = now
	}
	r.window.observe(now, column, r.last)
	if (learn || now-r.began < acquaintance) && now-r.learned >= 1e9 {
		r.learned = now
		r.learn()
	}
}

func (r *rates) learn() {
	if len(r.window.pairs) == 0 {
		return
	}
	for slot := range r.usually {
		now, known := r.window.difference(r.window.pairs[0], int32(slot)) //nolint:gosec // bounded by maxCgroups
		if !known {
			continue
		}
		n := min(r.seenFor[slot]+1, usualOver)
		r.seenFor[slot] = n
		r.usually[slot] += (max(now*r.scale, 0) - r.usually[slot]) / float64(n)
	}
}

// now returns how fast the counter of slot runs, a second; 0 while too little is
// known.
func (r *rates) now(slot int32) float64 { return max(r.window.newest(slot)*r.scale, 0) }

// known says that now is measured.
func (r *rates) known(slot int32) bool {
	if len(r.window.pairs) == 0 {
		return false
	}
	_, ok := r.window.difference(r.window.pairs[0], slot)
	return ok
}

// highest returns the fastest of slot and what is above it: a limit holds
// everything below.
func (r *rates) highest(slot int32) float64 {
	most := 0.0
	for depth := 0; slot >= 0 && depth < maxDepth; depth++ {
		most = max(most, r.now(slot))
		slot = r.parent(slot)
	}
	return most
}

// usual returns how fast it usually runs; known is false for a cgroup that has
// not been there for long.
func (r *rates) usual(slot int32) (rate float64, known bool) {
	return r.usually[slot], r.seenFor[slot] >= established
}

// competes is by how many times as much more than usual slot must use as another for
// that one not to want the same as it does.
const competes = 4

// rivals says that other uses more than usual, too, on a scale with slot.
func (r *rates) rivals(slot, other int32) bool { return competes*r.rate(other) > r.rate(slot) }

// dwarfs says that slot runs more than twice as fast as victim, each with all that is
// beside it where their ways through the tree part, which is where the kernel divides
// between the two.
func (r *rates) dwarfs(slot, victim int32) bool {
	return r.now(r.branch(slot, victim)) > 2*r.now(r.branch(victim, slot))
}

// branch returns the highest of slot and what is above it that other is not below.
func (t *table) branch(slot, other int32) int32 {
	for depth := 0; depth < maxDepth; depth++ {
		up := t.parent(slot)
		if up < 0 || t.below(other, up) {
			break
		}
		slot = up
	}
	return slot
}

// rate implements ranked: by how much more than usual it runs.
func (r *rates) rate(slot int32) float64 { return max(r.now(slot)-r.usually[slot], 0) }

// quick implements ranked.
func (r *rates) quick(slot int32) float64 { return r.rate(slot) }

// flow follows one counter of the node like rates does those of cgroups.
type flow struct {
	counter stall
	now     float64 // a second
	usual   float64
	n       int
	learned int64
	began   int64
}

func (f *flow) observe(at int64, total float64, learn bool) {
	if f.began == 0 {
		f.began = at
	}
	f.now = f.counter.rate(at, total)
	if (learn || at-f.began < acquaintance) && f.counter.n > 5 && at-f.learned >= 1e9 {
		f.learned = at
		f.n = min(f.n+1, usualOver)
		f.usual += (f.now - f.usual) / float64(f.n)
	}
}

// more is by how much more than usual it runs.
func (f *flow) more() float64 { return max(f.now-f.usual, 0) }

// others returns how much more than usual the tasks of the cgroup wait that
// suffers most, as a share of time. It is a victim that is asked for: neither slot,
// nor above or below it, nor contained, nor Reflex itself; one that has tasks of its
// own and has been there for long enough to have something usual; and one that does
// what it always does, more or less, since who uses more as the culprit does (use,
// which may be nil) waits for its own doing. Nor does the culprit harm whom it leaves
// as much as it takes: between those two the kernel shares fairly. What it waits for
// by a limit of its own, which own counts, does not count; own may be nil. known is
// false where no cgroup's waiting is known.
func (p *Policy) others(waits, own, use *rates, slot int32) (share float64, known bool) {
	p.table.leaves()
	for at, id := range waits.ids {
		victim := int32(at) //nolint:gosec // bounded by maxCgroups
		if id == 0 || waits.row[victim] < 0 || waits.up[victim] < 0 || !waits.known(victim) {
			continue
		}
		known = true
		more := min(waits.rate(victim), 1)
		if own != nil && more > share {
			more -= own.highest(victim)
		}
		if _, settled := waits.usual(victim); !settled || more <= share {
			continue
		}
		if p.table.inner[victim] || id == p.cfg.Own || use != nil && slot >= 0 && (use.rivals(slot, victim) || !use.dwarfs(slot, victim)) {
			continue
		}
		if slot >= 0 && (waits.below(victim, slot) || waits.below(slot, victim)) || p.belowContained(victim) || p.above(numResources, victim) {
			continue
		}
		share = more
	}
	return share, known
}

// belowContained says that a lease is held on slot's cgroup or above it: its
// waiting is of our own making.
func (p *Policy) belowContained(slot int32) bool {
	for i := range p.leases {
		if at, ok := p.table.slots[p.leases[i].cgroup]; ok && p.table.below(slot, at) {
			return true
		}
	}
	return false
}
