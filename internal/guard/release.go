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

// patrol is how often Run looks for what is due. A lease ends within it of its
// deadline, and the kill switch is obeyed within it.
const patrol = 100 * time.Millisecond

// The promise is 250 ms; one patrol may be late by all of another.
const _ = uint(250*time.Millisecond - 2*patrol)

// Run ends leases at their deadlines and obeys the kill switch, until ctx is
// done. Leases still held then are given back by [Guard.Close].
func (g *Guard) Run(ctx context.Context) error {
	ticks := time.NewTicker(patrol)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			g.Patrol()
			g.config.OnPatrol()
		}
	}
}

// Patrol does once what Run does at every tick.
func (g *Guard) Patrol() {
	defer g.retry()
	if on, _ := g.killed(); on {
		if err := g.ReleaseAll("kill switch"); err != nil {
			g.config.Logger.Error("kill switch", "error", err)
		}
		return
	}
	now := g.config.Clock()
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
	if !l.ended && now >= l.deadline {
		_ = g.finish(l, "the lease expired") // logged, in the audit, and tried again
	}
}

// ReleaseAll gives back every original.
func (g *Guard) ReleaseAll(reason string) error {
	var errs []error
	for _, observe := range []bool{false, true} {
		for _, l := range g.leases(observe) {
			l.mu.Lock()
			if !l.ended {
				errs = append(errs, g.finish(l, reason))
			}
			l.mu.Unlock()
		}
	}
	return errors.Join(errs...)
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
		return fmt.Errorf("release %s of %s: %s", l.knob.file(), l.path, out.Cause)
	}
	return nil
}

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
		out.Verdict, out.Cause = arc.VerdictReleased, "no lease is held: it had ended before"
		if o.Observe {
			out.Verdict = arc.VerdictObserved
		}
		return ""
	case o.Generation < l.record.Generation:
		refuse(out, refusal(fmt.Sprintf("the order is of generation %d, the lease of %d", o.Generation, l.record.Generation)))
		out.Original, out.Value, out.Deadline = uint64(l.record.Original), l.value, l.deadline
	default:
		l.released, l.record.Generation = true, o.Generation
		g.giveBack(l, out)
		g.config.Logger.Info("lease released", "cgroup", l.path, "knob", l.knob.file(), "verdict", out.Verdict.String(), "reason", o.Reason)
	}
	return l.path
}
