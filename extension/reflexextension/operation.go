// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// maxOperations bounds the operators' orders that wait for a tick.
const maxOperations = 8

// operation is an operator's order on its way to the policy, which only the
// sampling goroutine may touch.
type operation struct {
	order  policy.HandsOff
	record episode.Record
	taken  atomic.Bool // by a tick, or back by whoever waited too long
	done   chan operated
}

// operated is what became of it.
type operated struct {
	record uint64
	err    error
}

// claim says that the caller alone decides what becomes of it.
func (o *operation) claim() bool { return o.taken.CompareAndSwap(false, true) }

// operations hands them over. Posting and taking never wait.
type operations struct {
	mu      sync.Mutex
	waiting []*operation
}

func (q *operations) post(o *operation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxOperations {
		return false
	}
	q.waiting = append(q.waiting, o)
	return true
}

func (q *operations) take() *operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	o := q.waiting[0]
	q.waiting = append(q.waiting[:0], q.waiting[1:]...)
	return o
}

// operate gives the policy what operators want of it. The caller holds r.mu.
func (r *reflex) operate(s *arc.Sample) {
	for o := r.operations.take(); o != nil; o = r.operations.take() {
		if !o.claim() {
			continue
		}
		err := r.policy.Release(o.order)
		o.record.Time, o.record.Source, o.record.Sequence = time.Unix(0, s.WallTime), s.Source, s.Sequence
		o.done <- operated{r.told(o.record, err), err}
	}
}

// told puts an operator's action on the record, and that it failed if it did.
func (r *reflex) told(rec episode.Record, err error) uint64 {
	rec.Kind = episode.Operator
	rec.Level = int(r.level.Load())
	rec.Previous = rec.Level
	if err != nil {
		rec.Reason += "; refused: " + err.Error()
	}
	return r.journal.Append(rec)
}
