// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"maps"
	"sort"
	"sync"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// readChunk bounds how many records are copied while the journal is locked, so
// that a reader never makes a writer wait for more than a few microseconds.
const readChunk = 16

// leastRoutine is the part, one in so many, of a full journal that routine records
// may have: fewer are not displaced by others.
const leastRoutine = 4

// Journal is a bounded, ordered record of episodes, safe for any number of
// writers and readers. When it is full the oldest record of routine goes, and where
// there are few of those the oldest of all. Every reader keeps its own cursor: the ID
// of the last record it is done with.
type Journal struct {
	mu   sync.Mutex
	pool []Record      // as many as are held, in no order
	last uint64        // ID of the newest record, 0 when there was none
	from uint64        // ID of the newest record that was restored
	gone uint64        // records displaced
	wake chan struct{} // closed by the next Append; nil when nobody waits

	// Both list where in pool their records are, oldest first.
	vital, routine queue
	marks          map[string]uint64
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

// FileStats describes the file of a journal at one moment.
type FileStats struct {
	// Path is the file.
	Path string `json:"path"`
	// Records and Bytes are what it holds.
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
	// Behind is how many records of the journal are not in it yet.
	Behind uint64 `json:"behind"`
	// Dropped counts records that went to make room, or for their age, Missed those
	// that the journal displaced before they could be written, and Unreadable those
	// that could not be read back; since the start.
	Dropped    uint64 `json:"dropped"`
	Missed     uint64 `json:"missed"`
	Unreadable uint64 `json:"unreadable"`
	// Trouble is why nothing is written, "" where it is.
	Trouble string `json:"trouble,omitempty"`
	// SetAside is where a damaged file was moved to since the start.
	SetAside string `json:"set_aside,omitempty"`
}

// NewJournal returns a journal that holds capacity records, at least one. Its memory
// is allocated at once.
func NewJournal(capacity int) *Journal {
	capacity = max(capacity, 1)
	return &Journal{pool: make([]Record, 0, capacity), vital: newQueue(capacity), routine: newQueue(capacity), marks: map[string]uint64{}}
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
	r.ID = j.last + 1
	j.add(&r)
	if j.wake != nil {
		close(j.wake)
		j.wake = nil
	}
	return r.ID
}

// add takes in a record that is newer than all. The caller holds mu.
func (j *Journal) add(r *Record) {
	j.last = r.ID
	into := &j.vital
	if r.Routine() {
		into = &j.routine
	}
	if len(j.pool) < cap(j.pool) {
		into.push(len(j.pool))
		j.pool = append(j.pool, *r)
		return
	}
	from := &j.vital
	if few := cap(j.pool) / leastRoutine; j.routine.n > few || j.routine.n > 0 && (into == &j.routine || j.vital.n == 0) {
		from = &j.routine
	}
	slot := from.pop()
	j.gone++
	j.pool[slot] = *r
	into.push(slot)
}

// queue is a ring of places in the pool.
type queue struct {
	slots   []int
	head, n int
}

func newQueue(capacity int) queue { return queue{slots: make([]int, capacity)} }

func (q *queue) at(i int) int { return q.slots[(q.head+i)%len(q.slots)] }

func (q *queue) push(slot int) {
	q.slots[(q.head+q.n)%len(q.slots)] = slot
	q.n++
}

func (q *queue) pop() (slot int) {
	slot = q.slots[q.head]
	q.head, q.n = (q.head+1)%len(q.slots), q.n-1
	return slot
}

// seek returns how many records of a queue have an ID up to after.
func (j *Journal) seek(q *queue, after uint64) int {
	return sort.Search(q.n, func(i int) bool { return j.pool[q.at(i)].ID > after })
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
// allocates room for everything held. The last record's ID minus after minus
// how many were read is how many the reader came too late for.
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
	v, r := j.seek(&j.vital, after), j.seek(&j.routine, after)
	for ; n > 0 && (v < j.vital.n || r < j.routine.n); n-- {
		if r == j.routine.n || v < j.vital.n && j.pool[j.vital.at(v)].ID < j.pool[j.routine.at(r)].ID {
			into = append(into, j.pool[j.vital.at(v)])
			v++
		} else {
			into = append(into, j.pool[j.routine.at(r)])
			r++
		}
	}
	return into
}

// oldest returns the ID of the oldest record held, or 0. The caller holds mu.
func (j *Journal) oldest() uint64 {
	id := uint64(0)
	for _, q := range []*queue{&j.vital, &j.routine} {
		if q.n > 0 && (id == 0 || j.pool[q.at(0)].ID < id) {
			id = j.pool[q.at(0)].ID
		}
	}
	return id
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
	return Stats{Capacity: cap(j.pool), Held: len(j.pool), Oldest: j.oldest(), Newest: j.last, Dropped: j.gone}
}

// Dropped counts the records displaced by newer ones, read or not.
func (j *Journal) Dropped() uint64 { return j.Stats().Dropped }

// Mark notes how far a reader is: the ID of the last record it is done with. It only
// moves forward.
func (j *Journal) Mark(reader string, id uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if id <= j.marks[reader] {
		return
	}
	j.marks[reader] = id
	if j.wake != nil {
		close(j.wake)
		j.wake = nil
	}
}

// Marked returns how far a reader is, 0 where nobody noted it.
func (j *Journal) Marked(reader string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.marks[reader]
}

// Marks returns how far every reader is.
func (j *Journal) Marks() map[string]uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return maps.Clone(j.marks)
}

// Began returns the ID of the newest record of a journal before this one, 0 for none.
func (j *Journal) Began() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.from
}

// Restore takes up what a journal before this one held, in order of ID, and how far
// its readers were. Of what was appended meanwhile it keeps nothing: it is for a
// journal that nobody has used yet.
func (j *Journal) Restore(records []Record, last uint64, marks map[string]uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pool, j.vital, j.routine = j.pool[:0], newQueue(cap(j.pool)), newQueue(cap(j.pool))
	for i := range records {
		j.add(&records[i])
	}
	j.last, j.gone, j.marks = max(j.last, last), 0, maps.Clone(marks)
	j.from = j.last
	if j.marks == nil {
		j.marks = map[string]uint64{}
	}
}
