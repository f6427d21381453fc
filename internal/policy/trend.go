// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"slices"
	"time"
)

// stall measures how fast a counter runs over about a second: a PSI counter in
// seconds gives the share of time stalled.
type stall struct {
	at    [stallPoints]int64
	total [stallPoints]float64
	n     int
}

const (
	stallPoints = 12
	stallEvery  = 90 * int64(time.Millisecond)
)

// observe takes a PSI counter at instant now and returns the share of the last
// second that was stalled, 0 while too little is known.
func (w *stall) observe(now int64, total float64) float64 { return min(w.rate(now, total), 1) }

// rate takes a counter at instant now and returns its growth a second, 0 while
// too little is known.
func (w *stall) rate(now int64, total float64) float64 {
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
		return (total - w.total[0]) * 1e9 / float64(elapsed)
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

// pressure follows the harm of a resource whose harm is a rate: 1 is as much as
// is put up with. It tells what rises or stands from what settles.
type pressure struct {
	id    uint64 // the culprit
	since int64  // since when it is 1 or more; 0 while it is not
	at    [stallPoints]int64
	x     [stallPoints]float64
	n     int
}

// add takes the pressure at instant now. Another culprit starts again.
func (t *pressure) add(id uint64, now int64, x float64) {
	if t.id != id {
		*t = pressure{id: id}
	}
	switch {
	case x < 1:
		t.since = 0
	case t.since == 0:
		t.since = now
	}
	if t.n > 0 && now-t.at[t.n-1] < stallEvery {
		return
	}
	if t.n == stallPoints {
		copy(t.at[:], t.at[1:])
		copy(t.x[:], t.x[1:])
		t.n--
	}
	t.at[t.n], t.x[t.n] = now, x
	t.n++
}

// restart forgets what was before an action, whose effect is what counts now.
func (t *pressure) restart() { *t = pressure{id: t.id} }

// noise is the change of pressure, as a share of it, that means nothing.
const noise = 0.05

// change is by how much the pressure of the last third differs from that of the
// first, as a share of the latter.
func (t *pressure) change() float64 {
	third := t.n / 3
	if third == 0 {
		return 0
	}
	first, last := 0.0, 0.0
	for i := range third {
		first, last = first+t.x[i], last+t.x[t.n-1-i]
	}
	if first <= 0 {
		return last
	}
	return (last - first) / first
}

// stands is how many times longer a pressure has to last that does not rise.
const stands = 3

// worsens says that the pressure is too high, is at its peak, and has been too
// high for so long and rises, or for three times as long. What is at its peak no
// more is about to settle, by itself or by what was done.
func (t *pressure) worsens(now int64, sustain time.Duration) bool {
	if t.since == 0 || t.n == 0 || t.x[t.n-1] < (1-noise)*slices.Max(t.x[:t.n]) {
		return false
	}
	lasted := now - t.since
	return lasted >= int64(sustain) && t.change() > noise || lasted >= stands*int64(sustain)
}
