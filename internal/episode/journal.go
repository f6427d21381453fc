// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// readChunk bounds how many records are copied while the journal is locked, so
// that a reader never makes a writer wait for more than a few microseconds.
const readChunk = 16

// Journal is a bounded, ordered record of episodes, safe for any number of
// writers and readers. When it is full the oldest record goes. Every reader
// keeps its own cursor: the ID of the last record it is done with.
type Journal struct {
	mu   sync.Mutex
	ring []Record      // record n is at (n-1) % len(ring)
	last uint64        // ID of the newest record, 0 when there is none
	wake chan struct{} // closed by the next Append; nil when nobody waits
}

// Stats describes a journal at one moment.
type Stats struct {
	// Capacity is how many records the journal can hold, Held how many it does.
	Capacity int `json:"capacity"`
	Held     int `json:"held"`
	// Oldest and Newest are the IDs of the records held, 0 when there are none.
	Oldest uint64 `json:"oldest"`
	Newest uint64 `json:"newest"`
	// Dropped counts the records displaced by newer ones, read or not.
	Dropped uint64 `json:"dropped"`
}

// NewJournal returns a journal that holds the newest capacity records, at
// least one. Its memory is allocated at once.
func NewJournal(capacity int) *Journal {
	return &Journal{ring: make([]Record, max(capacity, 1))}
}

// Append adds r as the newest record and returns the ID it was given. It does
// no I/O and waits for no reader. It copies what r.Order and r.Outcome point
// to, so the caller may reuse them; a record without them costs no allocation.
func (j *Journal) Append(r Record) uint64 {
	if r.Order != nil || r.Outcome != nil {
		r.Order, r.Outcome = copyAction(r.Order, r.Outcome)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	r.ID = j.last
	j.ring[(j.last-1)%uint64(len(j.ring))] = r
	if j.wake != nil {
		close(j.wake)
		j.wake = nil
	}
	return j.last
}

func copyAction(o *arc.Order, out *arc.Outcome) (*arc.Order, *arc.Outcome) {
	var both struct {
		order   arc.Order
		outcome arc.Outcome
	}
	if o != nil {
		both.order = *o
		o = &both.order
	}
	if out != nil {
		both.outcome = *out
		out = &both.outcome
	}
	return o, out
}

// Read returns the records with an ID greater than after, oldest first, in
// into's memory and at most cap(into) of them; with no capacity in into it
// allocates room for everything held. The first record's ID minus after minus
// one is how many the reader came too late for.
func (j *Journal) Read(after uint64, into []Record) []Record {
	limit := cap(into)
	if limit == 0 {
		limit = j.Stats().Held
		into = make([]Record, 0, limit)
	}
	into = into[:0]
	for len(into) < limit {
		before := len(into)
		into = j.readSome(after, into, min(readChunk, limit-before))
		if len(into) == before {
			break
		}
		after = into[len(into)-1].ID
	}
	return into
}

// readSome appends at most n records to into under one lock.
func (j *Journal) readSome(after uint64, into []Record, n int) []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	if after >= j.last {
		return into
	}
	for next := max(after+1, j.oldest()); n > 0 && next <= j.last; next++ {
		into = append(into, j.ring[(next-1)%uint64(len(j.ring))])
		n--
	}
	return into
}

// oldest returns the ID of the oldest record held, or 0. The caller holds mu.
func (j *Journal) oldest() uint64 {
	if capacity := uint64(len(j.ring)); j.last > capacity {
		return j.last - capacity + 1
	}
	return min(j.last, 1)
}

// Wait returns a channel that is closed by the next Append; any number of
// appends before the reader looks again are one signal. To miss nothing, a
// reader takes the channel first, then reads, and waits only if there was
// nothing to read:
//
//	for {
//		wake := j.Wait()
//		if records := j.Read(cursor, buffer); len(records) > 0 {
//			// ... use them, move the cursor ...
//			continue
//		}
//		select {
//		case <-wake:
//		case <-ctx.Done():
//			return
//		}
//	}
func (j *Journal) Wait() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.wake == nil {
		j.wake = make(chan struct{})
	}
	return j.wake
}

// Stats returns the journal's state.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := Stats{Capacity: len(j.ring), Oldest: j.oldest(), Newest: j.last}
	s.Held = int(min(j.last, uint64(len(j.ring)))) //nolint:gosec // at most the capacity, an int
	s.Dropped = j.last - uint64(s.Held)            //nolint:gosec // never negative
	return s
}

// Dropped counts the records displaced by newer ones, read or not.
func (j *Journal) Dropped() uint64 { return j.Stats().Dropped }
