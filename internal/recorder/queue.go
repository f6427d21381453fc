// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"sync/atomic"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// depth is how many ticks may wait to be written: three seconds at the usual
// interval, a third of one at the fastest.
const depth = 32

// queue hands copies of samples from the sampler to the writer. It stands in the
// place of the arc, and asks for nothing.
type queue struct {
	spare, waiting chan *arc.Sample
	lost           atomic.Uint64
}

func newQueue() *queue {
	q := &queue{spare: make(chan *arc.Sample, depth), waiting: make(chan *arc.Sample, depth)}
	for range depth {
		q.spare <- &arc.Sample{}
	}
	return q
}

// Observe implements the sampler's Observer. It never blocks.
func (q *queue) Observe(s *arc.Sample, _ *arc.Judgement) {
	select {
	case to := <-q.spare:
		copySample(to, s)
		q.waiting <- to // there are as many places as samples
	default:
		q.lost.Add(1)
	}
}

// Control implements the sampler's Observer.
func (q *queue) Control() arc.Control { return arc.Control{} }

// copySample makes to a copy of s that shares nothing with it, and keeps its
// memory in use.
func copySample(to, s *arc.Sample) {
	sweep := to.Cgroups
	*to = *s
	sweep.ID = append(sweep.ID[:0], s.Cgroups.ID...)
	sweep.Parent = append(sweep.Parent[:0], s.Cgroups.Parent...)
	for f := range sweep.Columns {
		sweep.Columns[f] = append(sweep.Columns[f][:0], s.Cgroups.Columns[f]...)
	}
	sweep.Truncated = s.Cgroups.Truncated
	to.Cgroups = sweep
}
