// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxOvertaken bounds the memory of releases that found no lease.
const maxOvertaken = 256

const errOvertaken = refusal("the order was released already")

// overtaken remembers releases that found no lease: the hold that they end may
// still be on its way, or wait for another grant. The oldest are forgotten.
type overtaken struct {
	generations map[leaseKey]uint64
	ring        [maxOvertaken]leaseKey // the keys, by age
	next        int
}

func (t *overtaken) add(key leaseKey, generation uint64) {
	if t.generations == nil {
		t.generations = make(map[leaseKey]uint64, maxOvertaken)
	}
	if before, known := t.generations[key]; known {
		t.generations[key] = max(before, generation)
		return
	}
	delete(t.generations, t.ring[t.next]) // the zero key is nobody's
	t.ring[t.next] = key
	t.next = (t.next + 1) % len(t.ring)
	t.generations[key] = generation
}

// overtake remembers a release that found no lease.
func (g *Guard) overtake(o *arc.Order) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.early[bookOf(o.Observe)].add(keyOf(o), o.Generation)
}

// overtaken reports why no lease is granted for an order to hold: it was released,
// its lease has been, or nobody waits for the answer. An order that came too late
// to be answered would be a lease that nobody renews or releases.
func (g *Guard) overtaken(ctx context.Context, o *arc.Order) error {
	if err := ctx.Err(); err != nil {
		return refusal("nobody waits for the answer any more: " + err.Error())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	generation, known := g.early[bookOf(o.Observe)].generations[keyOf(o)]
	if known && o.Generation <= generation {
		return errOvertaken
	}
	if g.spent[bookOf(o.Observe)].has(keyOf(o), o.Generation) {
		return errSpent
	}
	return nil
}
