// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// patrol is how often Run looks for what is due. A lease ends within it of its
	// deadline, and the kill switch is obeyed within it.
	patrol = 100 * time.Millisecond
	// Stroll is how often it does while nothing is held: to be seen to be alive. A
	// supervisor has to put up with more than that.
	Stroll = time.Second
)

// The promise is 250 ms; one patrol may be late by all of another.
const _ = uint(250*time.Millisecond - 2*patrol)

// hungAfter is how long after its deadline a lease may be in the middle of a
// write before the guard counts as hung.
const hungAfter = int64(time.Second)

// Run ends leases at their deadlines and obeys the kill switch, until ctx is
// done. Leases still held then are given back by [Guard.Close]. OnPatrol is not
// called while a write keeps a lease from ending: whoever watches should then
// replace the guard.
func (g *Guard) Run(ctx context.Context) error {
	next := time.NewTimer(patrol)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.entered:
			next.Reset(patrol)
		case <-next.C:
			g.round()
			next.Reset(g.pace())
		}
	}
}

// pace is the time to the next look.
func (g *Guard) pace() time.Duration {
	g.mu.Lock()
	unread := len(g.unread)
	g.mu.Unlock()
	if unread > 0 || g.held(false) > 0 || g.held(true) > 0 {
		return patrol
	}
	return Stroll
}

// enters tells Run of a lease that has just been entered in its book.
func (g *Guard) enters() {
	select {
	case g.entered <- struct{}{}:
	default:
	}
}

func (g *Guard) round() {
	g.Patrol()
	if !g.hung() {
		g.config.OnPatrol(g.due())
	}
}

// due returns the earliest deadline of the leases held, 0 without any. What
// could not be given back is due no more: there it is being tried again.
func (g *Guard) due() int64 {
	earliest := int64(0)
	for _, l := range g.leases(false) {
		if due := l.deadline.Load(); due > 0 && (earliest == 0 || due < earliest) {
			earliest = due
		}
	}
	return earliest
}

// Patrol does once what Run does at every tick.
func (g *Guard) Patrol() {
	defer g.retry()
	now := g.config.Clock()
	if on, _ := g.killed(); on {
		busy, err := g.releaseIdle("kill switch")
		if err != nil {
			g.config.Logger.Error("kill switch", "error", err)
		}
		for _, l := range busy { // due from now on
			if due := l.deadline.Load(); due > now {
				l.deadline.CompareAndSwap(due, now)
			}
		}
		return
	}
	// Their programs have let everything pass since the deadline.
	_ = g.endNetwork(func(l *networkLease) bool { return now >= l.deadline.Load() }, "the lease expired") // logged, and in the audit
	for _, observe := range []bool{false, true} {
		for _, l := range g.leases(observe) {
			g.expire(l, now)
		}
	}
}

// expire ends one lease if it is due. A lease that is being written to at this
// moment waits for the next tick rather than holding up the others.
func (g *Guard) expire(l *lease, now int64) {
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	if !l.ended && now >= l.deadline.Load() {
		_ = g.finish(l, "the lease expired") // logged, in the audit, and tried again
	}
}

// hung reports whether a lease should have ended a while ago and cannot: it is
// locked by a write that does not return.
func (g *Guard) hung() bool {
	now := g.config.Clock()
	for _, l := range g.leases(false) {
		if now-l.deadline.Load() <= hungAfter {
			continue
		}
		if !l.mu.TryLock() {
			return true
		}
		l.mu.Unlock()
	}
	return false
}

// ReleaseAll gives back every original. Leases that are being written to come
// last, so that one write that blocks keeps no other lease.
func (g *Guard) ReleaseAll(reason string) error {
	busy, err := g.releaseIdle(reason)
	for _, l := range busy {
		l.mu.Lock()
		if !l.ended {
			err = errors.Join(err, g.finish(l, reason))
		}
		l.mu.Unlock()
	}
	return err
}

// releaseIdle releases what nobody is writing to and returns the rest.
func (g *Guard) releaseIdle(reason string) (busy []*lease, err error) {
	err = g.endNetwork(nil, reason)
	for _, observe := range []bool{false, true} {
		for _, l := range g.leases(observe) {
			if !l.mu.TryLock() {
				busy = append(busy, l)
				continue
			}
			if !l.ended {
				err = errors.Join(err, g.finish(l, reason))
			}
			l.mu.Unlock()
		}
	}
	return busy, err
}

// finish gives a lease back without having been ordered to, and records it.
func (g *Guard) finish(l *lease, reason string) error {
	var out arc.Outcome
	g.giveBack(l, &out)
	if out.Verdict == arc.VerdictReleased {
		out.Cause = join(reason, out.Cause)
	}
	g.log.add(g.config.Clock(), l.path, &arc.Order{
		Cgroup: l.key.cgroup, Action: l.key.action, Verb: arc.Release,
		Observe: l.observed, Generation: l.record.Generation, Reason: reason,
	}, &out)
	if out.Verdict == arc.VerdictFailed {
		return fmt.Errorf("release %s of %s: %s", l.name(), l.path, out.Cause)
	}
	return nil
}

// NothingHeld is the cause in the answer to a release that found no lease. Holds
// of its generation and of older ones are refused from then on, as far as memory
// goes: [maxOvertaken].
const NothingHeld = "no lease is held: it had ended before"

// release carries out an order to release. Releasing what is not held is done
// already.
func (g *Guard) release(l *lease, o *arc.Order, out *arc.Outcome) string {
	held := l != nil
	if held {
		l.mu.Lock()
		defer l.mu.Unlock()
		held = !l.ended
	}
	switch {
	case !held:
		g.overtake(o)
		out.Verdict, out.Cause = arc.VerdictReleased, NothingHeld
		if o.Observe {
			out.Verdict = arc.VerdictObserved
		} else if u, unread := g.unreadAt(o.Cgroup); unread {
			out.Verdict, out.Cause = arc.VerdictFailed, "what a former guard left there could not be read yet, and is tried again: "+u.Cause
			return u.Path
		}
		return ""
	case o.Generation < l.record.Generation:
		refuse(out, refusal(fmt.Sprintf("the order is of generation %d, the lease of %d", o.Generation, l.record.Generation)))
		out.Original, out.Value, out.Deadline = uint64(l.record.Original), l.value, l.deadline.Load()
	default:
		if o.Generation > l.record.Generation {
			g.overtake(o)
		}
		g.giveBack(l, out)
		g.config.Logger.Info("lease released", "cgroup", l.path, "knob", l.name(), "verdict", out.Verdict.String(), "reason", o.Reason)
	}
	return l.path
}
