// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// networkLease is a network action for a bounded time. Its mutex covers everything
// below it.
type networkLease struct {
	key      leaseKey
	dir      *cgroupfs.Dir // nil for a shield
	path     string        // of the cgroup, or the interface's name
	observed bool

	deadline atomic.Int64
	end      int64       // of a node's quarantine, for good (CLOCK_BOOTTIME, ns); under mu
	active   enforcement // nil where it is only observed
	retired  bool        // its counts are in the book's; under the book's mutex

	mu         sync.Mutex
	ended      bool
	generation uint64
	value      uint64
	rechecked  int64
	reason     string
}

func (l *networkLease) close() {
	if l.dir != nil {
		l.dir.Close()
	}
}

// networkBook holds network leases, and counts what they did to packets.
type networkBook struct {
	mu     sync.Mutex
	books  [2]map[leaseKey]*networkLease
	counts map[NetworkCount]uint64 // of leases that have ended; Packets is 0 in keys
}

func (b *networkBook) find(key leaseKey, observe bool) *networkLease {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.books[bookOf(observe)][key]
}

func (b *networkBook) enter(l *networkLease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	book := &b.books[bookOf(l.observed)]
	if *book == nil {
		*book = map[leaseKey]*networkLease{}
	}
	(*book)[l.key] = l
}

func (b *networkBook) leases(observe bool) []*networkLease {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.books[bookOf(observe)]))
}

// retire adds what a lease counted to what is known of those that ended.
func (b *networkBook) retire(l *networkLease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.counts == nil {
		b.counts = map[NetworkCount]uint64{}
	}
	l.count(b.counts)
	l.retired = true
}

func (b *networkBook) leave(l *networkLease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if book := b.books[bookOf(l.observed)]; book[l.key] == l {
		delete(book, l.key)
	}
}

// count adds to sums what the lease's programs have counted.
func (l *networkLease) count(sums map[NetworkCount]uint64) {
	if l.active == nil || l.retired {
		return
	}
	counts, err := l.active.Counts()
	if err != nil {
		return // a count is not worth more than the lease
	}
	for _, c := range counts {
		sums[NetworkCount{Action: l.key.action.String(), Reason: c.Reason}] += c.Packets
	}
}

// totals returns what became of packets since the guard started, leases that have
// ended included, in a fixed order.
func (b *networkBook) totals() []NetworkCount {
	b.mu.Lock()
	sums := maps.Clone(b.counts)
	if sums == nil {
		sums = map[NetworkCount]uint64{}
	}
	for _, l := range b.books[bookOf(false)] {
		l.count(sums)
	}
	b.mu.Unlock()
	all := make([]NetworkCount, 0, len(sums))
	for c, n := range sums {
		c.Packets = n
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b NetworkCount) int {
		return cmp.Or(cmp.Compare(a.Action, b.Action), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

// holdNetwork renews a lease and moves its rate. It reports false where the lease
// had ended before it came to it.
func (g *Guard) holdNetwork(l *networkLease, o *arc.Order, out *arc.Outcome) (done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	out.Original, out.Value, out.Deadline = arc.Unlimited, l.value, l.deadline.Load()
	if o.Generation < l.generation {
		refuse(out, refusal(fmt.Sprintf("the order is of generation %d, the lease of %d", o.Generation, l.generation)))
		return true
	}
	now := g.config.Clock()
	if l.over(o, now) {
		refuse(out, errOver)
		return true
	}
	if now-l.rechecked >= recheckEvery {
		if err := g.recheckNetwork(l); err != nil {
			g.detach(l, out)
			if out.Verdict != arc.VerdictFailed {
				out.Verdict = arc.VerdictRefused
			}
			out.Cause = join(err.Error(), out.Cause)
			return true
		}
		l.rechecked = now
	}
	value, deadline := rateOf(o), l.extend(o, now)
	out.Verdict = arc.VerdictObserved
	if l.active != nil {
		if err := l.active.Renew(value, deadline); err != nil {
			refuse(out, err)
			return true
		}
		out.Verdict, out.Written = arc.VerdictHeld, g.config.Clock()
	}
	l.value, l.generation, l.reason = value, o.Generation, o.Reason
	l.deadline.Store(deadline)
	out.Value, out.Deadline = value, deadline
	return true
}

func (g *Guard) recheckNetwork(l *networkLease) (err error) {
	switch l.key.action {
	case arc.ActionShield:
		_, err = g.interfaces(int(l.key.cgroup))
		return err
	case arc.ActionNodeQuarantine:
		return nil
	}
	l.path, err = g.spared(l.dir)
	return err
}

// detach ends a lease: everything passes. The caller holds l.mu.
func (g *Guard) detach(l *networkLease, out *arc.Outcome) {
	l.ended = true
	g.spend(l.key, l.generation, l.observed)
	g.network.retire(l)
	out.Verdict, out.Original, out.Value, out.Deadline = arc.VerdictReleased, arc.Unlimited, arc.Unlimited, 0
	if l.observed {
		out.Verdict = arc.VerdictObserved
	}
	if l.active != nil {
		if err := l.active.Close(); err != nil {
			out.Verdict, out.Cause = arc.VerdictFailed, err.Error()
			g.config.Logger.Error("programs not detached; they let everything pass", "target", l.path, "error", err)
		}
		out.Written = g.config.Clock()
	}
	l.close()
	g.network.leave(l)
}

// releaseNetwork carries out an order to release.
func (g *Guard) releaseNetwork(l *networkLease, o *arc.Order, out *arc.Outcome) string {
	held := l != nil
	if held {
		l.mu.Lock()
		defer l.mu.Unlock()
		held = !l.ended
	}
	switch {
	case !held:
		g.overtake(o)
		out.Verdict, out.Cause = arc.VerdictReleased, "no lease is held: it had ended before"
		if o.Observe {
			out.Verdict = arc.VerdictObserved
		}
		return ""
	case o.Generation < l.generation:
		refuse(out, refusal(fmt.Sprintf("the order is of generation %d, the lease of %d", o.Generation, l.generation)))
		out.Original, out.Value, out.Deadline = arc.Unlimited, l.value, l.deadline.Load()
	default:
		if o.Generation > l.generation {
			g.overtake(o)
		}
		g.detach(l, out)
		g.config.Logger.Info("lease released", "target", l.path, "action", o.Action.String(), "verdict", out.Verdict.String(), "reason", o.Reason)
	}
	return l.path
}

// endNetwork ends the network leases that are due, or all of them.
func (g *Guard) endNetwork(due func(*networkLease) bool, reason string) (err error) {
	for _, observe := range []bool{false, true} {
		for _, l := range g.network.leases(observe) {
			err = errors.Join(err, g.finishNetwork(l, due, reason))
		}
	}
	return err
}

// finishNetwork ends a lease that is due without having been ordered to, and
// records it.
func (g *Guard) finishNetwork(l *networkLease, due func(*networkLease) bool, reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || due != nil && !due(l) {
		return nil
	}
	var out arc.Outcome
	g.detach(l, &out)
	if out.Verdict == arc.VerdictReleased {
		out.Cause = reason
	}
	o := arc.Order{Action: l.key.action, Verb: arc.Release, Observe: l.observed, Generation: l.generation, Reason: reason}
	if l.dir == nil {
		o.Interface = uint32(l.key.cgroup)
	} else {
		o.Cgroup = l.key.cgroup
	}
	if l.end != 0 && g.config.Clock() >= l.end {
		g.overtake(&o) // who goes on renewing comes too late
	}
	g.log.add(g.config.Clock(), l.path, &o, &out)
	if out.Verdict == arc.VerdictFailed {
		return fmt.Errorf("release %s of %s: %s", l.key.action, l.path, out.Cause)
	}
	return nil
}

// status describes the lease as it is now.
func (l *networkLease) status() (Lease, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Lease{
		Path: l.path, Knob: l.key.action.String(), Observed: l.observed, Original: arc.Unlimited, Value: l.value,
		Generation: l.generation, Deadline: l.deadline.Load(), Reason: l.reason,
	}
	if l.dir == nil {
		s.Interface = uint32(l.key.cgroup)
	} else {
		s.Cgroup = l.key.cgroup
	}
	return s, !l.ended
}
