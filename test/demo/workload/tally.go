// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"slices"
	"sync"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// Second is what a client tells about the last second.
type Second struct {
	Payment      int     `json:"payment"`
	Neighbour    int     `json:"neighbour"`
	NeighbourP99 float64 `json:"neighbour_p99_ms"`
}

// Tally keeps every answer and sums up the seconds. It is safe for concurrent
// use.
type Tally struct {
	mu      sync.Mutex
	answers []recording.Answer
	told    int // answers[:told] are in a second already told
	waits   []int64
}

// NewTally returns a tally with room for n answers.
func NewTally(n int) *Tally { return &Tally{answers: make([]recording.Answer, 0, n)} }

// Record takes one answer.
func (t *Tally) Record(a recording.Answer) {
	t.mu.Lock()
	t.answers = append(t.answers, a)
	t.mu.Unlock()
}

// Second sums up the answers recorded since it was last called.
func (t *Tally) Second() (s Second) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits = t.waits[:0]
	for _, a := range t.answers[t.told:] {
		switch {
		case !a.OK:
		case a.Service == recording.Payment:
			s.Payment++
		default:
			s.Neighbour++
			t.waits = append(t.waits, a.Latency)
		}
	}
	t.told = len(t.answers)
	if n := len(t.waits); n > 0 {
		slices.Sort(t.waits)
		s.NeighbourP99 = float64(t.waits[(n*99+99)/100-1]) / 1e6
	}
	return s
}

// Answers returns all answers, in the order in which they came.
func (t *Tally) Answers() []recording.Answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.answers)
}
