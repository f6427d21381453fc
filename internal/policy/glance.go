// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// glance is what the last looks at a cgroup saw: a closer look shows totals, and
// what grows is known from looks far enough apart.
type glance struct {
	id     uint64
	at     [glancePoints]int64
	bytes  [glancePoints]uint64 // unreclaimable
	moved  [glancePoints][2]uint64
	n      int
	last   int64 // when it was looked at, successfully or not
	look   Inspection
	failed bool
}

const (
	maxGlances = 2 * MaxInspected
	// lookEvery is the least time between two looks at one cgroup.
	lookEvery    = 50 * int64(time.Millisecond)
	glancePoints = 10
	// Growth by kind is measured over at least so long, which is also how long a
	// growth must last to be more than a spike; older looks than the most are
	// forgotten.
	baselineLeast = 150 * int64(time.Millisecond)
	baselineMost  = 2 * int64(time.Second)
)

// looks keeps the glances of one resource.
type looks [maxGlances]glance

// look inspects a cgroup, not more often than every lookEvery, and returns its
// glance.
func (k *looks) look(id uint64, what Aspect, now int64, inspector Inspector) *glance {
	at, oldest := -1, 0
	for i := range k {
		if k[i].id == id {
			at = i
			break
		}
		if k[i].last < k[oldest].last {
			oldest = i
		}
	}
	if at < 0 {
		at = oldest
		k[at] = glance{id: id}
	}
	g := &k[at]
	if g.last != 0 && now-g.last < lookEvery {
		return g
	}
	g.last = now
	if g.failed = inspector == nil || inspector.Inspect(id, what, &g.look) != nil; !g.failed {
		g.add(now, g.look.Unreclaimable(), [2]uint64{g.look.ReadBytes, g.look.WriteBytes})
	}
	return g
}

// add keeps one look.
func (g *glance) add(now int64, bytes uint64, moved [2]uint64) {
	drop := 0
	for drop < g.n && now-g.at[drop] > baselineMost {
		drop++
	}
	if g.n-drop == glancePoints {
		drop++
	}
	copy(g.at[:], g.at[drop:g.n])
	copy(g.bytes[:], g.bytes[drop:g.n])
	copy(g.moved[:], g.moved[drop:g.n])
	g.n -= drop
	g.at[g.n], g.bytes[g.n], g.moved[g.n] = now, bytes, moved
	g.n++
}

// growth returns how fast unreclaimable memory grows, in bytes a second: over
// all looks, or over the youngest that are far enough apart, whichever is more,
// for a leak that began between them and a statistic that lags. It is not known
// while all looks are too near to one another.
func (g *glance) growth() (rate float64, known bool) {
	newest := g.n - 1
	for i := newest - 1; i >= 0; i-- {
		elapsed := g.at[newest] - g.at[i]
		if elapsed < baselineLeast {
			continue
		}
		r := (float64(g.bytes[newest]) - float64(g.bytes[i])) * 1e9 / float64(elapsed)
		if !known || i == 0 {
			rate = max(rate, r)
		}
		known = true
	}
	return rate, known
}

// flow returns how fast bytes are read and written, in bytes a second over all
// looks. It is not known while all looks are too near to one another.
func (g *glance) flow() (read, write float64, known bool) {
	newest := g.n - 1
	if newest < 1 || g.at[newest]-g.at[0] < baselineLeast {
		return 0, 0, false
	}
	rate := func(k int) float64 {
		first, last := g.moved[0][k], g.moved[newest][k]
		if last < first {
			return 0 // a device went away
		}
		return float64(last-first) * 1e9 / float64(g.at[newest]-g.at[0])
	}
	return rate(0), rate(1), true
}
