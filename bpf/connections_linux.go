// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"sync/atomic"
	"time"

	"github.com/otelcol-reflex/reflex/internal/entropy"
)

const (
	// destinationBuckets is how many classes the hash of an address has
	// (DESTINATIONS in events.bpf.c).
	destinationBuckets = 256
	// The window in which destinations are compared: ten slots, of which the
	// last has only begun, so 9 to 10 s.
	connectionSlots = 10
	connectionSlot  = time.Second
)

// connections turns the program's counters, one a class of destinations, into
// the number of connections begun and the entropy of where those of the recent
// past went.
type connections struct {
	memory  mapping[uint64]
	opened  uint64 // connections since the programs were attached
	entropy float64

	slot    int64                      // of the last reading, counted from the opening
	last    [destinationBuckets]uint64 // counters at the last reading
	begun   [connectionSlots][destinationBuckets]uint64
	changes [destinationBuckets]uint64
}

// read takes a reading at an instant counted from the opening.
func (c *connections) read(now time.Duration) {
	slot := int64(now / connectionSlot)
	moved := slot != c.slot
	// A slot in which nobody looked begins where the last look left off: what
	// came since may be recent.
	for s := max(c.slot, slot-connectionSlots) + 1; s <= slot; s++ {
		c.begun[s%connectionSlots] = c.last
	}
	c.slot = slot
	c.opened = 0
	for i := range c.memory.values {
		count := atomic.LoadUint64(&c.memory.values[i])
		moved = moved || count != c.last[i]
		c.last[i] = count
		c.opened += count
	}
	if !moved {
		return
	}
	oldest := &c.begun[(slot+1)%connectionSlots]
	for i := range c.changes {
		c.changes[i] = c.last[i] - oldest[i]
	}
	c.entropy = entropy.Normalised(c.changes[:])
}
