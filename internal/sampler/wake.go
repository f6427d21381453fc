// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import "github.com/otelcol-reflex/reflex/internal/wake"

const (
	// WakeInterval is the interval of a sampler that was woken, and of its looks
	// at what might wake it. A sampler as fast as that is not woken.
	WakeInterval = wake.Every
	// awakeFor is how long a sampler stays awake: time to tell a spike from a
	// trend, and half of what it takes a cause to wake again, so that nothing
	// keeps a slow sampler fast all the time.
	awakeFor = wake.Quiet / 2
)

// Watcher says what has begun since it was last asked that is a reason to
// sample sooner. It is asked in the sampling goroutine and must not block. now
// is CLOCK_BOOTTIME in ns.
type Watcher interface {
	Look(now int64) wake.Causes
}

// watch is the early wake of a sampler whose interval is longer than
// WakeInterval. The time to the next tick is waited for in steps of
// WakeInterval, with a look after each; if something has begun, the tick is
// taken at once, at that instant of the faster grid, and ticks stay that fast
// for awakeFor. However much begins, there is no more than one tick each
// WakeInterval.
type watch struct {
	watcher Watcher // nil: never woken
	next    int64   // when the next look is due
	until   int64   // awake before this instant
	early   bool    // the next tick is taken before its time
	woken   wake.Causes
}

func (w *watch) begin(set *Settings, now int64) {
	if set.Watch == nil || set.Interval <= WakeInterval {
		return
	}
	w.watcher = set.Watch
	w.next = following(now, int64(WakeInterval))
}

// wanted is the interval, or a shorter one while awake.
func (w *watch) wanted(scheduled, interval int64) int64 {
	if scheduled < w.until {
		return min(interval, int64(WakeInterval))
	}
	return interval
}

// take returns what the tick that is taken now says, once.
func (w *watch) take() (early bool, woken wake.Causes) {
	early, woken = w.early, w.woken
	w.early, w.woken = false, 0
	return early, woken
}

// wait returns true when the next tick is to be taken, or false as soon as stop
// is closed.
func (s *Sampler) wait(stop <-chan struct{}) bool {
	// A tick that is due at the same instant comes first.
	for s.watch.watcher != nil && s.watch.next < s.next {
		if !s.set.Clock.WaitUntil(s.watch.next, stop) {
			return false
		}
		s.look()
	}
	return s.set.Clock.WaitUntil(s.next, stop)
}

// look looks once, and has the next tick taken now if something has begun. A
// look that came late is not made up for.
func (s *Sampler) look() {
	w := &s.watch
	now := s.set.Clock.Now()
	begun := w.watcher.Look(now)
	w.next = following(now, int64(WakeInterval))
	if begun == 0 {
		return
	}
	w.woken |= begun
	w.until = now + int64(awakeFor)
	// The instant of the faster grid that has come, or the next one if a tick
	// was taken then.
	instant := w.next - int64(WakeInterval)
	if instant <= s.taken {
		instant = w.next
	}
	if instant < s.next {
		s.next, w.early = instant, true // the interval in force was the long one until now
	}
}
