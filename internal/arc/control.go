// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

import (
	"math"
	"sync/atomic"
)

// Control is the one word that flows against the arc's direction: what the
// policy wants sampler and engines to do. It is a snapshot; its zero value asks
// for nothing.
type Control struct {
	// Interval is the sampling interval asked for in ns, 0 for the sampler's own.
	Interval int64
	// FrozenUntil forbids learning before this instant (CLOCK_BOOTTIME, ns).
	FrozenUntil int64
	// Harm says that harm is measured or projected.
	Harm bool
	// LeaseHeld says that at least one lease is held.
	LeaseHeld bool
	// Watchful says that an episode is open: level 1 or above.
	Watchful bool
	// Harmed says that in it harm was done: tasks stalled on memory beyond the
	// budget, the OOM killer came, or a lease was held.
	Harmed bool
}

// Frozen reports whether learning is forbidden at now (CLOCK_BOOTTIME, ns).
func (c Control) Frozen(now int64) bool { return c.LeaseHeld || now < c.FrozenUntil }

// Forever is an instant that never comes, for Control.FrozenUntil.
const Forever = math.MaxInt64

// ControlWord publishes a [Control]. Its zero value holds the zero Control.
// Load does not allocate; Store does only when the word changes.
type ControlWord struct{ p atomic.Pointer[Control] }

// Load returns the current snapshot.
func (w *ControlWord) Load() Control {
	if c := w.p.Load(); c != nil {
		return *c
	}
	return Control{}
}

// Store publishes c.
func (w *ControlWord) Store(c Control) {
	if old := w.p.Load(); old != nil && *old == c {
		return
	}
	published := c // only a change escapes to the heap
	w.p.Store(&published)
}
