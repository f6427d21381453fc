// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"slices"
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

// target is what has its orders carried out one after the other: knobs of one cgroup
// depend on one another.
type target struct {
	cgroup uint64
	link   uint32
}

func targetOf(o *arc.Order) target { return target{o.Cgroup, o.Interface} }

// mailbox hands orders from the sampling goroutine to the executor. It holds
// one order a knob, the newest: a slow guard gets the present state and not
// a queue of the past. Posting never blocks and never allocates.
type mailbox struct {
	mu     sync.Mutex
	orders [mailboxSize]arc.Order
	n      int
	busy   [executors]target // whose orders are being carried out; empty for none
	acting int
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
	m.rouse()
}

// rouse wakes whoever takes orders.
func (m *mailbox) rouse() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns the order that has waited longest of those about whose target none is
// being carried out. Whoever takes one says when it is done.
func (m *mailbox) take() (arc.Order, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for at := range m.n {
		o := m.orders[at]
		if m.acting == executors || slices.Contains(m.busy[:m.acting], targetOf(&o)) {
			continue
		}
		copy(m.orders[at:], m.orders[at+1:m.n])
		m.n--
		m.orders[m.n] = arc.Order{}
		m.busy[m.acting] = targetOf(&o)
		m.acting++
		if m.n > 0 {
			m.rouse() // another may take the next one
		}
		return o, true
	}
	return arc.Order{}, false
}

// done says that an order that was taken is carried out.
func (m *mailbox) done(o *arc.Order) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at := slices.Index(m.busy[:m.acting], targetOf(o)); at >= 0 {
		m.acting--
		m.busy[at] = m.busy[m.acting]
	}
	if m.n > 0 {
		m.rouse()
	}
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
