// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"sync"
	"sync/atomic"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// mailboxSize bounds the knobs whose orders wait at a time.
const mailboxSize = 32

// knob is what an order is about, whatever it asks for.
type knob struct {
	cgroup, device uint64
	link           uint32
	action         arc.Action
}

func knobOf(o *arc.Order) knob { return knob{o.Cgroup, o.Device, o.Interface, o.Action} }

// mailbox hands orders from the sampling goroutine to the executor. It holds
// one order a knob, the newest: a slow guard gets the present state and not
// a queue of the past. Posting never blocks and never allocates.
type mailbox struct {
	mu     sync.Mutex
	orders [mailboxSize]arc.Order
	n      int
	wake   chan struct{}

	dropped, replaced atomic.Int64
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// post leaves an order for the executor.
func (m *mailbox) post(o arc.Order) {
	m.mu.Lock()
	at := 0
	for about := knobOf(&o); at < m.n && knobOf(&m.orders[at]) != about; {
		at++
	}
	switch {
	case at < m.n:
		m.orders[at] = o
		m.replaced.Add(1)
	case m.n == mailboxSize:
		m.dropped.Add(1)
	default:
		m.orders[m.n] = o
		m.n++
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns the order that has waited longest.
func (m *mailbox) take() (arc.Order, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == 0 {
		return arc.Order{}, false
	}
	o := m.orders[0]
	copy(m.orders[:], m.orders[1:m.n])
	m.n--
	m.orders[m.n] = arc.Order{}
	return o, true
}

// answersSize bounds the answers that wait for the next tick.
const answersSize = 64

type answer struct {
	order   arc.Order
	outcome arc.Outcome
}

// answers carries outcomes back to the sampling goroutine. When it is full the
// oldest goes: the policy asks again for what it has no answer to.
type answers struct {
	mu   sync.Mutex
	ring [answersSize]answer
	head int
	n    int
}

func (a *answers) post(o arc.Order, out arc.Outcome) {
	a.mu.Lock()
	if a.n == answersSize {
		a.head, a.n = (a.head+1)%answersSize, a.n-1
	}
	a.ring[(a.head+a.n)%answersSize] = answer{o, out}
	a.n++
	a.mu.Unlock()
}

func (a *answers) take() (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n == 0 {
		return answer{}, false
	}
	got := a.ring[a.head]
	a.ring[a.head] = answer{}
	a.head, a.n = (a.head+1)%answersSize, a.n-1
	return got, true
}
