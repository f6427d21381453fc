// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// grant makes a new lease, or says why not. Everything but the last writes is
// the same for an order that only observes. Where the order has to wait for
// another write, it returns that write's mutex and has done nothing.
func (g *Guard) grant(ctx context.Context, k knob, o *arc.Order, out *arc.Outcome) (path string, wait *sync.Mutex) {
	l := &lease{key: leaseKey{o.Cgroup, o.Action}, device: device(o.Device), knob: k, observed: o.Observe}
	wait, err := g.admit(ctx, l, o)
	if wait != nil {
		return "", wait
	}
	if err != nil {
		refuse(out, err)
		return l.path, nil
	}
	defer l.mu.Unlock()
	out.Original, out.Value, out.Deadline = uint64(l.record.Original), l.value, l.deadline.Load()
	if o.Observe {
		out.Verdict = arc.VerdictObserved
		return l.path, nil
	}
	g.config.OnPatrol(g.due())
	if err := g.begin(l); err != nil {
		refuse(out, err)
		out.Value = out.Original
		var other rewritten
		if errors.As(err, &other) { // nothing of ours was written but the record
			out.Value, l.lost = uint64(other), true
			g.forget(l, out)
			return l.path, nil
		}
		g.undo(l, out) // if that fails as well, Run goes on trying
		return l.path, nil
	}
	if current, err := g.read(l); err == nil && current != l.value {
		g.giveBack(l, out) // somebody else was quicker
		return l.path, nil
	}
	out.Verdict, out.Written = arc.VerdictGranted, l.written
	g.config.Logger.Info("lease granted", "cgroup", l.path, "knob", l.name(), "original", string(cgroupfs.AppendUint(nil, out.Original)), "value", out.Value, "reason", o.Reason)
	return l.path, nil
}

// admit plans a lease and enters it in its book, locked, before the first write:
// whatever happens then, Run ends it. A first write that takes long holds up no
// other grant.
func (g *Guard) admit(ctx context.Context, l *lease, o *arc.Order) (wait *sync.Mutex, err error) {
	g.granting.Lock()
	defer g.granting.Unlock()
	if g.stopping() {
		return nil, errStopping
	}
	if err := g.overtaken(ctx, o); err != nil {
		return nil, err
	}
	if other := g.find(l.key, l.observed); other != nil { // granted meanwhile
		return other.mu, nil
	}
	l.mu = g.mutexFor(l.key)
	if !l.mu.TryLock() {
		return l.mu, nil
	}
	if l.dir, err = g.root.Open(o.Cgroup); err != nil {
		l.mu.Unlock()
		return nil, err
	}
	err = g.plan(l, o)
	if err == nil {
		err = g.overtaken(ctx, o) // planning takes a while
	}
	if err != nil {
		l.mu.Unlock()
		l.dir.Close()
		return nil, err
	}
	g.enter(l)
	return nil, nil //nolint:nilnil // nothing to wait for, and no error
}

// plan checks target and budgets and fills the lease as it would be written.
func (g *Guard) plan(l *lease, o *arc.Order) error {
	path, err := g.eligible(l)
	l.path = path
	if err != nil {
		return err
	}
	original, err := g.read(l)
	if err != nil {
		return err
	}
	value, err := l.knob.grant(l.target(), original, o.Parameter, g.config.Margin)
	if err != nil {
		return err
	}
	if !l.knob.tightens(value, original) {
		return refusal(fmt.Sprintf("%s is %s already and the lease would start at %d: that tightens nothing",
			l.name(), cgroupfs.AppendUint(nil, original), value))
	}
	coupled, err := couple(l)
	if err != nil {
		return err
	}
	now, book := g.config.Clock(), bookOf(o.Observe)
	if held := g.held(o.Observe); held >= g.config.MaxLeases {
		return refusal(fmt.Sprintf("%d leases are held, no more are allowed at a time", held))
	}
	if !g.grants[book].take(now) {
		return refusal(fmt.Sprintf("%d leases were granted within a minute, no more are allowed", g.config.GrantsPerMinute))
	}
	l.value, l.exact, l.rechecked, l.reason = value, true, now, o.Reason
	l.deadline.Store(now + o.TTL)
	l.record = record{
		Version: recordVersion, Original: limit(original), Coupled: coupled,
		Low: limit(value), High: limit(interval(l.knob, value, original)),
		Generation: o.Generation, BootID: g.config.BootID, Granted: now, Deadline: now + o.TTL,
	}
	if l.knob.device() {
		l.record.Device = l.device
	}
	return nil
}

// couple returns the coupled file's value as a record has it.
func couple(l *lease) (map[string]limit, error) {
	file := l.knob.coupled()
	if file == "" {
		return nil, nil //nolint:nilnil // most have none
	}
	v, err := l.dir.ReadUint(file)
	switch {
	case errors.Is(err, os.ErrNotExist): // older kernels
		return nil, nil //nolint:nilnil // nothing is coupled
	case err != nil:
		return nil, err
	}
	return map[string]limit{file: limit(v)}, nil
}

// interval returns the upper end of the values declared ours.
func interval(k knob, value, original uint64) uint64 {
	if high := k.canonical(value + k.span(value)); k.tightens(high, original) {
		return high
	}
	return original
}

// eligible reports why a cgroup may not be touched, if so.
func (g *Guard) eligible(l *lease) (path string, err error) {
	d := l.dir
	if d.ID() == g.root.ID() {
		return "/", refusal("the root is never touched")
	}
	if path, err = d.Path(); err != nil {
		return "", err
	}
	if kind, err := d.ReadFile("cgroup.type", make([]byte, 0, 32)); err == nil {
		switch kind := firstLine(kind); {
		case kind == "domain", kind == "domain threaded":
		case kind == "threaded" && !l.knob.domain():
			return path, refusal(path + " is a threaded cgroup: its threads are part of processes that only its domain holds whole")
		default:
			return path, refusal(fmt.Sprintf("%s is a %s cgroup, which has no %s of its own", path, kind, l.knob.file()))
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return path, err
	}
	if err := g.safe.check(d, path); err != nil {
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
	_, err = d.Getxattr(recordName(l.key.action))
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
func (g *Guard) hold(l *lease, o *arc.Order, out *arc.Outcome) (path string, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done = g.renew(l, o, out)
	return l.path, done
}

// renew is hold with l.mu held.
func (g *Guard) renew(l *lease, o *arc.Order, out *arc.Outcome) (done bool) {
	if l.ended {
		return false
	}
	out.Original, out.Value = uint64(l.record.Original), l.value
	if l.knob.device() && device(o.Device) != l.device {
		refuse(out, refusal(fmt.Sprintf("the order is about device %s, the lease about %s", device(o.Device), l.device)))
		out.Deadline = l.deadline.Load()
		return true
	}
	if o.Generation < l.record.Generation {
		refuse(out, refusal(fmt.Sprintf("the order is of generation %d, the lease of %d", o.Generation, l.record.Generation)))
		out.Deadline = l.deadline.Load()
		return true
	}
	now := g.config.Clock()
	current, err := g.read(l)
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
			g.drop(l) // nothing was ours to lose; plan again on what is there now
			return false
		}
	case l.lost || !l.ours(current):
		g.giveBack(l, out)
		return true
	case current == uint64(l.record.Original) && !l.record.ours(current):
		// It was given back, but for its record. What its interval does not have, no
		// record can say of a lease that goes on.
		g.undo(l, out)
		return !l.ended
	case l.exact && current != l.value: // its owner wrote what it was told of
		l.value = l.knob.back(l.target(), l.value, current)
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
	g.move(l, o, current, now, out)
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

// move extends the lease and moves its value, from what is current: see the knobs for
// which way.
func (g *Guard) move(l *lease, o *arc.Order, current uint64, now int64, out *arc.Outcome) {
	original := uint64(l.record.Original)
	next, err := l.knob.move(l.target(), l.value, o.Parameter)
	if err != nil {
		refuse(out, err)
		out.Deadline = l.deadline.Load()
		return
	}
	if !l.knob.tightens(next, original) {
		next = original
	}
	deadline := now + o.TTL
	if next != l.value && !l.observed {
		spacing := writeSpacing
		if l.knob.tightens(next, l.value) {
			spacing = tightenSpacing
		}
		if now-l.written < spacing {
			next = l.value
			out.Cause = fmt.Sprintf("the value did not move: it was written less than %v ago", time.Duration(spacing))
		}
	}
	// The record is written again only where it would be wrong: an interval
	// that is too short, another generation, a deadline long past its own.
	r := l.record
	r.Generation = max(r.Generation, o.Generation)
	r.Low = min(r.Low, limit(next))
	if limit(next) > r.High {
		r.High = limit(interval(l.knob, next, original))
	}
	if deadline-r.Deadline >= recheckEvery {
		r.Deadline = deadline
	}
	changed := r.Low != l.record.Low || r.High != l.record.High || r.Generation != l.record.Generation || r.Deadline != l.record.Deadline
	if !l.observed && changed {
		if err := g.writeRecord(l, &r); err != nil {
			refuse(out, err)
			out.Deadline = l.deadline.Load()
			return
		}
	}
	l.declare(&r)
	if next != current && !l.observed {
		if err := g.turnFrom(l, current, next); err != nil {
			g.stuck(l, err, out)
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

// stuck is what becomes of a lease whose knob could not be turned.
func (g *Guard) stuck(l *lease, err error, out *arc.Outcome) {
	var other rewritten
	if errors.As(err, &other) {
		g.lose(l, uint64(other), out)
		return
	}
	refuse(out, err)
	out.Deadline = l.deadline.Load()
}
