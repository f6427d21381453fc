// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// maxRemembered bounds the cgroups whose history is kept.
const maxRemembered = 64

// memory is what is remembered of one cgroup, and, under its stable name, of
// the workload that comes back in a new one.
type memory struct {
	id   uint64
	name string
	used int64 // last touched; the least is forgotten first

	lost      int    // leases taken away by somebody else
	banned    uint64 // episode in which no new lease is given
	restUntil int64  // no new lease of any kind before
	// By action: no new lease before, how long it was put off, how often it was
	// refused or failed in this episode, and the last refusal recorded.
	retryAt, backoff [arc.NumActions]int64
	failures         [arc.NumActions]uint8
	cause            [arc.NumActions]string

	containments int                 // by name: how often in a row
	contained    int64               // by name: when last
	graceless    [numResources]int64 // by name: no grace before this instant
	excused      bool                // declined for its grace in this episode
	oomKills     float64
}

// history remembers a bounded number of cgroups.
type history struct{ entries []memory }

// find returns the entry of id, or nil.
func (h *history) find(id uint64) *memory {
	for i := range h.entries {
		if h.entries[i].id == id {
			return &h.entries[i]
		}
	}
	return nil
}

// of returns the entry of id, made from what is known of name if there is none.
func (h *history) of(id uint64, name string, now int64) *memory {
	m := h.find(id)
	if m == nil {
		fresh := memory{id: id}
		for i := range h.entries {
			old := &h.entries[i]
			if name != "" && old.name == name && old.contained >= fresh.contained {
				fresh.containments, fresh.contained = old.containments, old.contained
				for r := range fresh.graceless {
					fresh.graceless[r] = max(fresh.graceless[r], old.graceless[r])
				}
			}
		}
		m = h.add(fresh)
	}
	if name != "" && m.name != name {
		m.name = name
	}
	m.used = now
	return m
}

func (h *history) add(m memory) *memory {
	if len(h.entries) < maxRemembered {
		h.entries = append(h.entries, m)
		return &h.entries[len(h.entries)-1]
	}
	oldest := 0
	for i := range h.entries {
		e, o := &h.entries[i], &h.entries[oldest]
		// Hands off means hands off: those are forgotten last.
		if (e.lost < 2) != (o.lost < 2) {
			if e.lost < 2 {
				oldest = i
			}
		} else if e.used < o.used {
			oldest = i
		}
	}
	h.entries[oldest] = m
	return &h.entries[oldest]
}

// contain notes a containment and returns the factor for the time to hold: it
// doubles with each recurrence, up to eightfold, and halves every decay without.
func (m *memory) contain(now int64, decay time.Duration) {
	if m.contained != 0 && decay > 0 {
		m.containments -= int((now - m.contained) / int64(decay))
	}
	m.containments = min(max(m.containments, 0)+1, 4)
	m.contained = now
}

// factor is how many times longer than usual a lease is held.
func (m *memory) factor() int64 { return 1 << max(m.containments-1, 0) }

// retreat postpones the next lease of an action, twice as long each time.
func (m *memory) retreat(a arc.Action, now int64, first, most time.Duration) {
	m.backoff[a] = min(max(2*m.backoff[a], int64(first)), int64(most))
	m.retryAt[a] = now + m.backoff[a]
}

// failed counts a refusal or failure of an action.
func (m *memory) failed(a arc.Action) { m.failures[a] = min(m.failures[a]+1, 200) }

// punish takes the grace from those excused for it whose growth ended in an OOM
// kill.
func (h *history) punish(s *arc.Sample, lost time.Duration) {
	kills := s.Node[arc.NodeOOMKills]
	for i := range h.entries {
		m := &h.entries[i]
		if m.excused && kills > m.oomKills {
			m.excused, m.graceless[Memory] = false, s.Taken+int64(lost)
		}
	}
}

// close ends what holds for one episode only.
func (h *history) close() {
	for i := range h.entries {
		e := &h.entries[i]
		e.excused = false
		clear(e.cause[:])
		clear(e.failures[:])
	}
}
