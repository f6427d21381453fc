// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

// perSlot is what a follower of a table knows of each cgroup.
type perSlot[T any] struct {
	of    []T
	blank T // of whom nothing is known
}

func (p *perSlot[T]) widen(slots int) {
	for len(p.of) < slots {
		p.of = append(p.of, p.blank)
	}
}

func (p *perSlot[T]) clear(slot int32) { p.of[slot] = p.blank }
