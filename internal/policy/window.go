// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"github.com/otelcol-reflex/reflex/internal/arc"
)

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

// since returns the growth over the youngest rows at least span apart, or over all
// that are known of a longer time than half of it; known is false for less.
func (w *window) since(slot int32, span int64) (rate float64, known bool) {
	early := -1
	for i := 1; i < w.n; i++ {
		row := w.at(i)
		if w.usage[row*w.width+int(slot)] == arc.Absent {
			break
		}
		if early = row; w.times[w.head]-w.times[row] >= span {
			break
		}
	}
	if early < 0 || w.times[w.head]-w.times[early] < span/2 {
		return 0, false
	}
	return w.difference(pair{w.head, early, float64(w.times[w.head]-w.times[early]) / 1e9}, slot)
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
