// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// grant makes a new lease, or says why not. Everything but the last writes is
// the same for an order that only observes.
func (g *Guard) grant(ctx context.Context, k knob, o *arc.Order, out *arc.Outcome) (path string) {
	g.granting.Lock()
	defer g.granting.Unlock()
	if g.stopping() {
		refuse(out, errStopping)
		return ""
	}
	if err := g.overtaken(ctx, o); err != nil {
		refuse(out, err)
		return ""
	}
	d, err := g.root.Open(o.Cgroup)
	if err != nil {
		refuse(out, err)
		return ""
	}
	l := &lease{key: leaseKey{o.Cgroup, o.Action}, dir: d, knob: k, observed: o.Observe}
	if err := g.plan(l, o); err != nil {
		d.Close()
		refuse(out, err)
		return l.path
	}
	out.Original, out.Value, out.Deadline = uint64(l.record.Original), l.value, l.deadline.Load()
	if o.Observe {
		out.Verdict = arc.VerdictObserved
		g.enter(l)
		return l.path
	}
	if err := g.overtaken(ctx, o); err != nil { // planning takes a while
		d.Close()
		refuse(out, err)
		*out = arc.Outcome{Verdict: out.Verdict, Cause: out.Cause}
		return l.path
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	g.enter(l) // before the first write: whatever happens now, Run ends it
	g.config.OnPatrol(g.due())
	if err := g.begin(l); err != nil {
		refuse(out, err)
		out.Value = out.Original
		var other rewritten
		if errors.As(err, &other) { // nothing of ours was written but the record
			out.Value, l.lost = uint64(other), true
			g.forget(l, out)
			return l.path
		}
		g.undo(l, out) // if that fails as well, Run goes on trying
		return l.path
	}
	if current, err := k.read(d); err == nil && current != l.value {
		g.giveBack(l, out) // somebody else was quicker
		return l.path
	}
	out.Verdict, out.Written = arc.VerdictGranted, l.written
	g.config.Logger.Info("lease granted", "cgroup", l.path, "knob", k.file(), "original", string(cgroupfs.AppendUint(nil, out.Original)), "value", out.Value, "reason", o.Reason)
	return l.path
}

// plan checks target and budgets and fills the lease as it would be written.
func (g *Guard) plan(l *lease, o *arc.Order) error {
	path, err := g.eligible(l.dir, l.key)
	l.path = path
	if err != nil {
		return err
	}
	original, err := l.knob.read(l.dir)
	if err != nil {
		return err
	}
	value, err := l.knob.grant(l.dir, o.Parameter, g.config.Margin)
	if err != nil {
		return err
	}
	if value >= original {
		return refusal(fmt.Sprintf("%s is %s already and the lease would start at %d: that tightens nothing",
			l.knob.file(), cgroupfs.AppendUint(nil, original), value))
	}
	coupled, err := l.knob.coupled(l.dir)
	if err != nil {
		return err
	}
	now, book := g.config.Clock(), bookOf(o.Observe)
	if held := len(g.leases(o.Observe)); held >= g.config.MaxLeases {
		return refusal(fmt.Sprintf("%d leases are held, no more are allowed at a time", held))
	}
	if !g.grants[book].take(now) {
		return refusal(fmt.Sprintf("%d leases were granted within a minute, no more are allowed", g.config.GrantsPerMinute))
	}
	l.value, l.exact, l.rechecked, l.reason = value, true, now, o.Reason
	l.deadline.Store(now + o.TTL)
	l.record = record{
		Version: recordVersion, Original: limit(original), Coupled: coupled,
		Low: limit(value), High: limit(g.interval(l.knob, value, original)),
		Generation: o.Generation, BootID: g.config.BootID, Granted: now, Deadline: now + o.TTL,
	}
	return nil
}

// interval returns the upper end of the values declared ours.
func (g *Guard) interval(k knob, value, original uint64) uint64 {
	return min(cgroupfs.PageDown(value+k.span(value)), original)
}

// eligible reports why a cgroup may not be touched, if so.
func (g *Guard) eligible(d *cgroupfs.Dir, key leaseKey) (path string, err error) {
	if d.ID() == g.root.ID() {
		return "/", refusal("the root is never touched")
	}
	if path, err = d.Path(); err != nil {
		return "", err
	}
	if err := g.safe.check(d, path); err != nil {
		return path, err
	}
	if kind, err := d.ReadFile("cgroup.type", make([]byte, 0, 32)); err == nil {
		if kind := firstLine(kind); kind != "domain" && kind != "domain threaded" {
			return path, refusal(fmt.Sprintf("%s is a %s cgroup, which has no memory of its own", path, kind))
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if events, err := d.ReadFile("cgroup.events", make([]byte, 0, 64)); err == nil {
		if populated, known := cgroupfs.Keyed(events, "populated"); known && populated == 0 {
			return path, refusal(path + " has no process")
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if n, err := g.lossesOf(d); err != nil {
		return path, err
	} else if n >= handsOffAfter {
		return path, refusal(fmt.Sprintf("%s was rewritten by another owner %d times: hands off for this boot", path, n))
	}
	_, err = d.Getxattr(recordPrefix + knobs[key.action].file())
	switch {
	case errors.Is(err, cgroupfs.ErrNoAttribute):
		return path, nil
	case err != nil:
		return path, err
	}
	return path, refusal(path + " carries a lease record that this guard does not hold")
}

// hold renews a lease and moves its value. It reports false where the lease had
// ended before it came to it.
func (g *Guard) hold(l *lease, o *arc.Order, out *arc.Outcome) (done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		if l.released && o.Generation <= l.record.Generation {
			refuse(out, errOvertaken)
			return true
		}
		return false
	}
	out.Original, out.Value = uint64(l.record.Original), l.value
	if o.Generation < l.record.Generation {
		refuse(out, refusal(fmt.Sprintf("the order is of generation %d, the lease of %d", o.Generation, l.record.Generation)))
		out.Deadline = l.deadline.Load()
		return true
	}
	now := g.config.Clock()
	current, err := l.knob.read(l.dir)
	switch {
	case errors.Is(err, cgroupfs.ErrGone):
		g.end(l)
		refuse(out, err)
		return true
	case err != nil:
		refuse(out, err)
		out.Deadline = l.deadline.Load()
		return true
	case l.observed:
		if current != uint64(l.record.Original) {
			g.end(l) // nothing was ours to lose; plan again on what is there now
			return false
		}
	case l.lost || !l.ours(current):
		g.giveBack(l, out)
		return true
	default:
		l.value, l.exact = current, true
	}
	if now-l.rechecked >= recheckEvery {
		if err := g.recheck(l); err != nil {
			g.giveBack(l, out)
			if out.Verdict != arc.VerdictFailed {
				out.Verdict = arc.VerdictRefused
			}
			out.Cause = join(err.Error(), out.Cause)
			return true
		}
		l.rechecked = now
	}
	g.move(l, o, now, out)
	return true
}

// recheck asks the safelist again: processes move, and so do cgroups.
func (g *Guard) recheck(l *lease) error {
	path, err := l.dir.Path()
	if err != nil {
		return err
	}
	l.path = path
	return g.safe.check(l.dir, path)
}

// move extends the lease and lets its value rise.
func (g *Guard) move(l *lease, o *arc.Order, now int64, out *arc.Outcome) {
	original := uint64(l.record.Original)
	next := min(l.knob.move(l.value, o.Parameter), original)
	deadline := now + o.TTL
	if next > l.value && now-l.written < writeSpacing && !l.observed {
		next = l.value
		out.Cause = "the value did not move: it was written less than 5 ms ago"
	}
	// The record is written again only where it would be wrong: an interval
	// that ends too low, another generation, a deadline long past its own.
	r := l.record
	r.Generation = max(r.Generation, o.Generation)
	if limit(next) > r.High {
		r.High = limit(g.interval(l.knob, next, original))
	}
	if deadline-r.Deadline >= recheckEvery {
		r.Deadline = deadline
	}
	changed := r.High != l.record.High || r.Generation != l.record.Generation || r.Deadline != l.record.Deadline
	if !l.observed && changed {
		if err := g.writeRecord(l, &r); err != nil {
			refuse(out, err)
			out.Deadline = l.deadline.Load()
			return
		}
	}
	l.record = r
	if next != l.value && !l.observed {
		err := g.turnFrom(l, l.value, next)
		var other rewritten
		if errors.As(err, &other) {
			g.lose(l, uint64(other), out)
			return
		}
		if err != nil {
			refuse(out, err)
			out.Deadline = l.deadline.Load()
			return
		}
		out.Written = l.written
	}
	l.value, l.reason = next, o.Reason
	l.deadline.Store(deadline)
	out.Value, out.Deadline = next, deadline
	out.Verdict = arc.VerdictHeld
	if l.observed {
		out.Verdict = arc.VerdictObserved
	}
}

func firstLine(text []byte) string {
	for i, c := range text {
		if c == '\n' {
			return string(text[:i])
		}
	}
	return string(text)
}
