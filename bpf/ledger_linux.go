// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"slices"
	"sync/atomic"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// ledger turns what each cgroup's own sockets did into what those of the cgroup
// and its descendants did, and never forgets: a cgroup that goes leaves what it
// had to the nearest ancestor that remains.
//
//	total(c) = own(c) + left(c) + Σ over children d: total(d)
//
// Ids are never used twice, so that a path that is made again begins at 0.
type ledger struct {
	ids    []uint64
	parent []int32 // row of the parent, -1 for none
	// left is what cgroups that are gone left to each row.
	left, spare []trafficCounts
	// total is the last sweep's, and what a cgroup never falls below: while a
	// sweep is truncated descendants come and go that are not gone.
	total, before []trafficCounts
	index         map[uint64]int32 // row by id, of the newest sweep that changed

	listed []uint64 // ids that had counts before this sweep began
	sweeps int
}

// reapEvery is how many sweeps pass between two looks at everything that has
// counts: a socket may outlive its cgroup and be counted again, and a cgroup may
// come and go between two sweeps. 10 s at an interval of 100 ms.
const reapEvery = 100

// prepare comes before a sweep.
func (t *traffic) prepare() {
	l := &t.ledger
	l.listed = l.listed[:0]
	if l.sweeps%reapEvery == reapEvery-1 {
		l.listed = t.ids(l.listed)
	}
	l.sweeps++
}

// fill writes the columns of traffic. Rows are those of the sweep, parents the
// rows of their parents.
func (t *traffic) fill(rows []cgroupCgroupRow, parents []int32, into *arc.Sweep) {
	l := &t.ledger
	if !slices.Equal(l.ids, into.ID) {
		t.settle(parents, into)
	}
	if into.Truncated == 0 && len(l.listed) > 0 {
		t.reap()
		if len(l.listed) < int(t.counts.MaxEntries()) {
			t.forgiven = atomic.LoadUint64(&t.excess.values[0])
		}
	}
	l.add(rows)
	full := t.full()
	for k, f := range trafficFields {
		if !t.counted(k) {
			continue
		}
		column := slices.Grow(into.Columns[f], len(rows))[:len(rows)]
		for i := range rows {
			column[i] = l.total[i][k]
			// Without counts although somebody found no room for theirs.
			if full && rows[i].Traffic[k] == arc.Absent && column[i] == 0 {
				column[i] = arc.Absent
			}
		}
		into.Columns[f] = column
	}
}

// settle takes over the rows of a sweep that are not those of the last one.
func (t *traffic) settle(parents []int32, into *arc.Sweep) {
	l := &t.ledger
	if l.index == nil {
		l.index = make(map[uint64]int32)
	}
	clear(l.index)
	for i, id := range into.ID {
		l.index[id] = int32(i)
	}
	l.spare = zeroed(l.spare, len(into.ID))
	l.before = zeroed(l.before, len(into.ID))
	for row, id := range l.ids {
		if now, ok := l.index[id]; ok {
			l.spare[now].add(&l.left[row])
			l.before[now] = l.total[row]
			continue
		}
		var rest trafficCounts
		if into.Truncated == 0 { // else it perhaps only found no room
			rest = t.take(id)
		}
		rest.add(&l.left[row])
		if heir := l.heir(row); heir >= 0 {
			l.spare[heir].add(&rest)
		}
	}
	l.left, l.spare = l.spare, l.left
	l.total, l.before = l.before, l.total
	l.ids = append(l.ids[:0], into.ID...)
	l.parent = append(l.parent[:0], parents...)
}

// heir is the row, in the newest sweep, of the nearest ancestor that remains of
// the one that was at row, -1 for none.
func (l *ledger) heir(row int) int32 {
	for p := l.parent[row]; p >= 0; p = l.parent[p] {
		if now, ok := l.index[l.ids[p]]; ok {
			return now
		}
	}
	return -1
}

// reap removes what was counted for cgroups that were gone before this sweep.
// Whose they were is not known any more; all are below the first row.
func (t *traffic) reap() {
	l := &t.ledger
	for _, id := range l.listed {
		if _, ok := l.index[id]; !ok {
			rest := t.take(id)
			l.left[0].add(&rest)
		}
	}
}

// add makes totals of what the rows' own sockets did.
func (l *ledger) add(rows []cgroupCgroupRow) {
	l.before = append(l.before[:0], l.total...)
	for i := range rows {
		l.total[i] = l.left[i]
		if own := trafficCounts(rows[i].Traffic); own[0] != arc.Absent {
			l.total[i].add(&own)
		}
	}
	for i := len(rows) - 1; i >= 0; i-- {
		for k := range l.total[i] {
			l.total[i][k] = max(l.total[i][k], l.before[i][k])
		}
		if p := l.parent[i]; p >= 0 {
			l.total[p].add(&l.total[i])
		}
	}
}

// zeroed is s with n zeroes, of the same memory where that suffices.
func zeroed(s []trafficCounts, n int) []trafficCounts {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}
