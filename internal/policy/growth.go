// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"github.com/otelcol-reflex/reflex/internal/arc"
)

// growth follows a gauge of every cgroup (memory, tasks) over two windows. All
// cgroups share the tick's instant, so a window is a ring of rows (one per
// instant) over slots (one per cgroup) and following 1,000 cgroups is two
// contiguous writes.
type growth struct {
	*table
	column arc.CgroupField

	// fast answers within 300 ms; slow sees growth that comes in bursts.
	fast, slow window
}

func newGrowth(t *table, column arc.CgroupField) *growth {
	g := &growth{table: t, column: column, fast: newWindow(45e6, 500e6, 150e6), slow: newWindow(190e6, 4e9, 1.2e9)}
	t.add(&g.fast, g.fast.span)
	t.add(&g.slow, g.slow.span)
	return g
}

// follow takes one sweep made at instant now, which the table has seen.
func (g *growth) follow(now int64, sweep *arc.Sweep) {
	g.fast.observe(now, sweep.Columns[g.column], g.last)
	g.slow.observe(now, sweep.Columns[g.column], g.last)
}

// quick implements ranked: the newest difference is cheap and bounds who can
// matter.
func (g *growth) quick(slot int32) float64 {
	return max(g.fast.newest(slot), g.slow.newest(slot))
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
