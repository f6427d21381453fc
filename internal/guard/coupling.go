// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Two knobs of a cgroup can be coupled: while cpu.idle is 1 the kernel shows and
// takes no cpu.weight, and with 0 it gives the weight of everybody. The lease of
// cpu.idle covers the other then: its record says which weight comes back, and
// the lease of cpu.weight is read from and written to that record. So the two may
// begin, move and end in any order. They share a mutex.

// coverOf returns the lease that covers a lease's knob, nil for none. The caller
// holds l.mu, which is the cover's too.
func (g *Guard) coverOf(l *lease) *lease {
	action := l.knob.coveredBy()
	if action == arc.ActionNone {
		return nil
	}
	cover := g.find(leaseKey{l.key.cgroup, action}, false)
	if cover == nil || cover.ended || cover.lost {
		return nil
	}
	if _, known := cover.record.Coupled[l.knob.file()]; !known {
		return nil
	}
	if v, err := cover.knob.read(cover.target()); err != nil || !cover.ours(v) {
		return nil // its owner has turned it back
	}
	return cover
}

// mutexFor returns the mutex of a new lease: that of a lease of a coupled knob on
// the same cgroup, if there is one. The caller holds g.granting.
func (g *Guard) mutexFor(key leaseKey) *sync.Mutex {
	for _, action := range g.coupledWith(key.action) {
		for _, observe := range []bool{false, true} {
			if l := g.find(leaseKey{key.cgroup, action}, observe); l != nil {
				return l.mu
			}
		}
	}
	return new(sync.Mutex)
}

// coupledWith returns the actions that are coupled with one, itself included;
// none if it is coupled with none.
func (g *Guard) coupledWith(action arc.Action) []arc.Action {
	if cover := g.knobs[action].coveredBy(); cover != arc.ActionNone {
		return []arc.Action{action, cover}
	}
	for covered, k := range g.knobs {
		if k.coveredBy() == action {
			return []arc.Action{action, covered}
		}
	}
	return nil
}
