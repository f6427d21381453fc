// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

// State is what is known besides the records: how things stand at one moment.
type State struct {
	// Leases counts the leases in force, or that there would be.
	Leases []Leases
	// Displaced counts the records that the journal displaced, FileDropped those that
	// left its file to make room or for their age, FileMissed those that were displaced
	// before they were written to it, Unreadable those that could not be read back, and
	// OrdersDropped the orders that found no room. All since the start.
	Displaced, FileDropped, FileMissed, Unreadable, OrdersDropped uint64
}

// Leases are so many leases of one action.
type Leases struct {
	// Action is the knob, e.g. "memory.high".
	Action string
	// Observed says that nothing is written.
	Observed bool
	Count    int
}
