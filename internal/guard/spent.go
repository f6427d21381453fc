// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// maxSpent bounds the memory of leases that have ended.
	maxSpent = 256
	// ahead is how far a generation may be ahead of the clock: a policy that grants
	// twice at one instant counts on.
	ahead = int64(time.Microsecond)

	errSpent = refusal(arc.RefusedSpent + ": its lease has ended, or it was decided before this guard started")
)

// spent remembers of which generations leases were held: none is granted again.
// Generations grow with every grant, whatever it is about, so that where memory
// ends it is enough to know the latest that was forgotten.
type spent struct {
	generations map[leaseKey]uint64
	floor       uint64 // up to it every generation is over
}

func (s *spent) add(key leaseKey, generation uint64) {
	if s.generations == nil {
		s.generations = make(map[leaseKey]uint64, maxSpent)
	}
	before, known := s.generations[key]
	if !known && len(s.generations) >= maxSpent {
		s.forget()
	}
	s.generations[key] = max(before, generation)
}

// forget drops the oldest generation, which the floor stands for from then on.
func (s *spent) forget() {
	var oldest leaseKey
	found := false
	for key, generation := range s.generations {
		if !found || generation < s.generations[oldest] {
			oldest, found = key, true
		}
	}
	s.floor = max(s.floor, s.generations[oldest])
	delete(s.generations, oldest)
}

func (s *spent) has(key leaseKey, generation uint64) bool {
	return generation <= max(s.floor, s.generations[key])
}

// spend remembers that a lease has ended. The caller does not hold g.mu. The
// record of another boot may name an instant that this one has not come to.
func (g *Guard) spend(key leaseKey, generation uint64, observed bool) {
	generation = min(generation, uint64(g.config.Clock()+ahead))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent[bookOf(observed)].add(key, generation)
}

// since marks the guard's own start: what was decided before, a former guard may
// have granted already.
func (g *Guard) since(start int64) {
	for i := range g.spent {
		g.spent[i].floor = uint64(start + ahead)
	}
}

// timely reports why a hold's generation cannot be one: it is the instant at which
// the lease was decided. One from the future would shut out whoever comes next.
func (g *Guard) timely(generation uint64) error {
	if now := g.config.Clock(); generation > uint64(now+ahead) {
		return refusal(fmt.Sprintf("the order is of generation %d, an instant that is yet to come: it is %d", generation, now))
	}
	return nil
}
