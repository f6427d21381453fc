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
	// faster is by how much growth may exceed the fastest known where usage passes the
	// highest, and a quarter by how much that may be, but for an eighth of the room that
	// is left: records fall without anything wrong.
	faster = 1.5
	higher = 2 // as a shift
	roomy  = 3 // as a shift
	// spare is for how long growth must find room beyond the crest, so that there is
	// time to act if it does not come back.
	spare = 3 * time.Second
	// ripple is the rise below which coming back is no event, notable that from which
	// on it is worth to know whose it is.
	ripple  = 4 << 20
	notable = 4 * ripple
	// settled is how long usage has to stay where it is, give or take a ripple, for the
	// next wave to begin there.
	settled = 30 * int64(time.Second)
	// batch is how long a cgroup that ends may have risen for its end to be a coming
	// back: a job that is done, and not a service that somebody gave up.
	batch = 5 * int64(time.Minute)
	// maxNamed bounds the workloads whose habits are kept beyond one cgroup.
	maxNamed = 256
)

// habits knows, of every cgroup and of the workload that comes back under its name
// in another one, how high its usage has risen before it came back by itself, by how
// much, and how fast: the waves of a garbage collector, a build, a batch. Who does the
// same again does no harm, however it looks in a straight line, while there is room
// for the whole of it. A leak never comes back and so has no habit.
//
// What is swapped out has not come back, and neither has what a kill by the OOM
// killer freed, or came back while tasks stalled on memory. What came back under a
// lease has if the oldest of its processes is the one it was: nobody ended it.
type habits struct {
	perSlot[wave]
	growth *growth
	turned int64 // when the generations last changed
	named  map[string]*custom
	ask    int32 // a slot whose name is worth knowing, -1 for none
	asked  int64
	doubt  doubt
	seen   Inspection
}

// doubt is a wave that came back under a lease, to be looked into.
type doubt struct {
	id     uint64 // of the cgroup, 0 for none
	length int64
	crest  crest
}

// wave is usage on its way up, and the crests of those that came back.
type wave struct {
	low, top uint64
	since    int64   // when it was low
	pace     float64 // the fastest growth on the way up, bytes a second
	held     bool    // a lease was held on the way
	through  bool    // it was held below
	asked    bool    // its name is known, or cannot be
	peak     uint64  // the top of the wave before, 0 for none, and
	floor    uint64  // where that began
	at       uint64  // what usage has been, give or take a ripple,
	still    int64   // since when
	own      custom
	shared   *custom // of all that have its name
}

// custom is what is known of a workload: the crests of the current generation and
// the one before.
type custom struct {
	crests [2]crest
	used   int64
}

// crest is the most of a generation: how high a wave was, and how high above the lows
// before and after it. The latter is the same each time where page cache gathers below.
type crest struct {
	height, rise uint64
	pace         float64
}

// add takes in another one.
func (c *crest) add(d crest) {
	c.height, c.rise, c.pace = max(c.height, d.height), max(c.rise, d.rise), max(c.pace, d.pace)
}

func newHabits(g *growth) *habits {
	h := &habits{growth: g, named: make(map[string]*custom, maxNamed), ask: -1}
	h.blank.low = arc.Absent
	g.add(h, 0)
	return h
}

// observe follows the waves at instant now. Without learn it only keeps up: what
// comes back meanwhile is no habit.
func (h *habits) observe(now int64, s *arc.Sample, learn bool) {
	h.turn(now)
	for row, slot := range h.growth.last {
		if slot < 0 {
			continue
		}
		w, usage := &h.of[slot], taken(s, row)
		switch {
		case usage == arc.Absent:
		case !learn || w.low == arc.Absent:
			w.begin(now, usage)
			w.peak = 0
		case usage > w.top:
			w.top, w.pace = usage, max(w.pace, h.growth.slow.newest(slot))
			if h.ask < 0 && !w.asked && usage-w.low >= notable {
				h.ask = slot
			}
		case w.top-usage >= max(ripple, (w.top-w.low)/2):
			if !w.held {
				w.custom().crests[0].add(crest{w.top, w.rise(), w.pace})
				w.peak, w.floor = w.top, w.low
			} else if !w.through && h.doubt.id == 0 {
				h.doubt = doubt{h.growth.ids[slot], now - w.since, crest{height: w.top, pace: w.pace}}
			}
			w.begin(now, usage)
		case usage < w.low:
			w.low, w.since = usage, now
		}
		if usage != arc.Absent {
			w.settle(now, usage)
		}
	}
	if s.Cgroups.Len() > 0 && s.Cgroups.Truncated == 0 {
		h.depart(now, learn)
	}
}

// taken is what the cgroup of a row uses of memory and swap.
func taken(s *arc.Sample, row int) uint64 {
	usage, swapped := s.Cgroups.Value(arc.CgroupMemoryUsage, row), s.Cgroups.Value(arc.CgroupMemorySwap, row)
	if usage != arc.Absent && swapped != arc.Absent {
		usage += swapped
	}
	return usage
}

// begin starts a wave.
func (w *wave) begin(now int64, usage uint64) {
	w.low, w.top, w.pace, w.since, w.held, w.through = usage, usage, 0, now, false, false
}

// settle has the next wave begin where usage stays: page cache that gathers is no part
// of it. Who holds the cgroup there is not forgotten.
func (w *wave) settle(now int64, usage uint64) {
	switch {
	case max(usage, w.at)-min(usage, w.at) > ripple:
		w.at, w.still = usage, now
	case now-w.still >= settled && w.top-w.low > 2*ripple:
		w.custom().crests[0].add(crest{rise: w.rise()})
		w.low, w.top, w.since, w.peak = usage, usage, now, 0
	}
}

// rise is by how much the wave before was higher than the lows around it.
func (w *wave) rise() uint64 {
	if around := max(w.floor, w.low); w.peak > around {
		return w.peak - around
	}
	return 0
}

// depart ends the waves of cgroups that are gone.
func (h *habits) depart(now int64, learn bool) {
	for slot := range h.of {
		w := &h.of[slot]
		if w.low == arc.Absent || h.growth.row[slot] >= 0 {
			continue
		}
		if learn && !w.held && w.top-w.low >= ripple && now-w.since <= batch {
			w.custom().crests[0].add(crest{w.top, w.rise(), w.pace})
		}
		w.low = arc.Absent
	}
}

// turn begins a new generation when it is time.
func (h *habits) turn(now int64) {
	if now-h.turned < habitFor {
		return
	}
	h.turned = now
	for i := range h.of {
		h.of[i].own.turn()
	}
	for name, c := range h.named {
		if c.turn(); c.crests == [2]crest{} && now-c.used >= habitFor {
			delete(h.named, name)
		}
	}
}

func (c *custom) turn() { c.crests[1], c.crests[0] = c.crests[0], crest{} }

// hold notes that a lease is held on slot: what it and those above it do is not
// all their own.
func (h *habits) hold(slot int32) {
	for depth := 0; slot >= 0 && depth < maxDepth; depth++ {
		h.of[slot].held, h.of[slot].through = true, depth > 0
		slot = h.growth.parent(slot)
	}
}

// nameEvery is the least time between two closer looks.
const nameEvery = 100 * int64(time.Millisecond)

// look takes a closer look at whom there is a question about, one at a time.
func (h *habits) look(now int64, inspector Inspector) {
	if inspector == nil || now-h.asked < nameEvery {
		return
	}
	seen := &h.seen
	switch slot, there := h.growth.slots[h.doubt.id]; {
	case h.doubt.id != 0:
		h.asked = now
		if there && inspector.Inspect(h.doubt.id, 0, seen) == nil && seen.Age > time.Duration(h.doubt.length) {
			h.of[slot].custom().crests[0].add(h.doubt.crest)
		}
		h.doubt = doubt{}
	case h.ask >= 0:
		w := &h.of[h.ask]
		if h.asked = now; h.growth.row[h.ask] >= 0 && !w.asked && inspector.Inspect(h.growth.ids[h.ask], 0, seen) == nil && seen.Name != "" {
			w.shared = h.custom(seen.Name, now)
			for i, c := range w.own.crests {
				w.shared.crests[i].add(c)
			}
		}
		w.asked, h.ask = true, -1
	}
}

// custom returns what is known of a workload by its name; who was not seen for
// longest makes room.
func (h *habits) custom(name string, now int64) *custom {
	c := h.named[name]
	if c == nil {
		if len(h.named) >= maxNamed {
			oldest := ""
			for n, k := range h.named {
				if oldest == "" || k.used < h.named[oldest].used {
					oldest = n
				}
			}
			delete(h.named, oldest)
		}
		c = &custom{}
		h.named[name] = c
	}
	c.used = now
	return c
}

// custom is where the crests of a wave belong.
func (w *wave) custom() *custom {
	if w.shared != nil {
		return w.shared
	}
	return &w.own
}

// crest returns the height that slot has come back from, or has come back from as
// much above its present low; 0 for none.
func (h *habits) crest(slot int32) uint64 {
	w := &h.of[slot]
	c := w.custom()
	height := max(c.crests[0].height, c.crests[1].height)
	if rise := max(c.crests[0].rise, c.crests[1].rise, w.rise()); rise > 0 && w.low != arc.Absent {
		height = max(height, w.low+rise)
	}
	return height
}

// expects says that the growth of slot, now at usage of memory and swap, leads to where it has been
// before, or is like it and leads a little beyond, and leaves room in available.
func (h *habits) expects(slot int32, usage, available uint64) bool {
	c, top := h.of[slot].custom(), h.crest(slot)
	rate := h.growth.slow.newest(slot)
	if usage != arc.Absent && usage >= top && rate <= faster*max(c.crests[0].pace, c.crests[1].pace) {
		top += min(top>>higher, available>>roomy)
	}
	return usage < top && float64(top-usage)+rate*spare.Seconds() < float64(available)
}
