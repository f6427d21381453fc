// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Handover passes samples from the sampler to one delivery goroutine. It holds
// one sample: the newest one waiting, or a spare.
type Handover struct {
	mu      sync.Mutex
	held    *arc.Sample
	waiting bool
	due     bool
	ready   chan struct{}
}

// NewHandover returns an empty handover.
func NewHandover() *Handover {
	return &Handover{held: &arc.Sample{}, ready: make(chan struct{}, 1)}
}

// Put leaves s and returns another sample to fill. Due says that it is to be delivered,
// and not only looked at. It replaces a sample that still waits, is due if that was,
// and says so if both were. It never blocks.
func (h *Handover) Put(s *arc.Sample, due bool) (free *arc.Sample, replaced bool) {
	h.mu.Lock()
	free, replaced = h.held, h.waiting && h.due && due
	h.held, h.waiting, h.due = s, true, due || h.waiting && h.due
	h.mu.Unlock()
	select {
	case h.ready <- struct{}{}:
	default:
	}
	return free, replaced
}

// Ready signals that a sample may wait.
func (h *Handover) Ready() <-chan struct{} { return h.ready }

// Take returns the sample that waits and keeps used, the caller's previous one,
// as the spare. Where none waits it returns used and false.
func (h *Handover) Take(used *arc.Sample) (s *arc.Sample, due, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.waiting {
		return used, false, false
	}
	s, h.held, h.waiting = h.held, used, false
	return s, h.due, true
}
