// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/faultpoint"
)

// All writes to the kernel are in this file, and their order is the safety of
// the whole: record, knob … knob, record. Whatever step is the last one made,
// the record is there whenever the knob is not at its original.

// begin writes a lease: first its record, then the knob.
func (g *Guard) begin(l *lease) error {
	if err := g.writeRecord(l, &l.record); err != nil {
		return err
	}
	return g.turnFrom(l, uint64(l.record.Original), l.value)
}

// read returns the value of a lease's knob: where another lease of ours covers
// it, the one it will come back with.
func (g *Guard) read(l *lease) (uint64, error) {
	if cover := g.coverOf(l); cover != nil {
		return uint64(cover.record.Coupled[l.knob.file()]), nil
	}
	return l.knob.read(l.target())
}

// write is its counterpart.
func (g *Guard) write(l *lease, v uint64) error {
	cover := g.coverOf(l)
	if cover == nil {
		return l.knob.write(l.target(), v)
	}
	r := cover.record
	r.Coupled = maps.Clone(r.Coupled)
	r.Coupled[l.knob.file()] = limit(v)
	written, err := g.putRecord(cover, &r)
	if written {
		cover.record = r
	}
	return err
}

// rewritten says which value somebody else gave a knob since it was read.
type rewritten uint64

func (r rewritten) Error() string {
	return "somebody else wrote " + string(cgroupfs.AppendUint(nil, uint64(r))) + " meanwhile"
}

// turnFrom is turn where the knob is still at from, as far as that can be known:
// between this look and the write is nothing that waits.
func (g *Guard) turnFrom(l *lease, from, v uint64) error {
	if err := g.step("look", l); err != nil {
		return err
	}
	current, err := g.read(l)
	if err != nil {
		return err
	}
	if current != from {
		return fmt.Errorf("%s of %s: %w", l.name(), l.path, rewritten(current))
	}
	return g.turn(l, v)
}

// turn writes the knob, and puts right what changes with it. From a failed write
// on only the interval is known.
func (g *Guard) turn(l *lease, v uint64) error {
	if err := g.step("knob", l); err != nil {
		l.exact = false
		return err
	}
	if err := g.write(l, v); err != nil {
		l.exact = false
		return err
	}
	l.value, l.exact, l.written = v, true, g.config.Clock()
	if err := g.step("knob written", l); err != nil {
		return err
	}
	return g.recouple(l)
}

// recouple gives coupled files back what turning the knob took from them.
func (g *Guard) recouple(l *lease) error {
	for file, original := range l.record.Coupled {
		current, err := l.dir.ReadUint(file)
		if err != nil {
			return err
		}
		if current == uint64(original) || !l.knob.disturbed(current, uint64(original)) {
			continue
		}
		if err := g.step("coupled", l); err != nil {
			return err
		}
		if err := l.dir.WriteUint(file, uint64(original)); err != nil {
			return err
		}
		if err := g.step("coupled written", l); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guard) writeRecord(l *lease, r *record) error {
	_, err := g.putRecord(l, r)
	return err
}

// putRecord is writeRecord, and tells whether the record is written, after an error too.
func (g *Guard) putRecord(l *lease, r *record) (written bool, err error) {
	text, err := r.encode()
	if err != nil {
		return false, fmt.Errorf("lease record of %s: %w", l.path, err)
	}
	if err := g.step("record", l); err != nil {
		return false, err
	}
	if err := l.dir.Setxattr(recordName(l.key.action), text); err != nil {
		return false, err
	}
	return true, g.step("record written", l)
}

func (g *Guard) removeRecord(l *lease) error {
	if err := g.step("remove", l); err != nil {
		return err
	}
	if err := l.dir.Removexattr(recordName(l.key.action)); err != nil {
		return err
	}
	return g.step("removed", l)
}

// giveBack ends a lease: the original where the knob is still ours, nothing
// where it is not. The caller holds l.mu. A lease that could not be given back
// stays in its book, overdue, and Run goes on trying.
func (g *Guard) giveBack(l *lease, out *arc.Outcome) {
	out.Original = uint64(l.record.Original)
	if l.observed {
		out.Verdict, out.Value = arc.VerdictObserved, out.Original
		g.end(l)
		return
	}
	if l.lost {
		g.forget(l, out)
		return
	}
	current, err := g.read(l)
	if err == nil && current != uint64(l.record.Original) && !l.ours(current) {
		g.lose(l, current, out)
		return
	}
	// At its original without having been put there by us: whoever did so after
	// we wrote another value owns it now.
	if err == nil && l.exact && l.value != current && !l.declared(current) {
		g.lose(l, current, out)
		return
	}
	g.undo(l, out)
	if out.Verdict == arc.VerdictNone {
		out.Verdict = arc.VerdictReleased
	}
}

// undo writes the original and removes the record. It leaves the verdict alone
// unless it fails, or finds the cgroup gone and the lease with it.
func (g *Guard) undo(l *lease, out *arc.Outcome) {
	err := g.restore(l)
	switch {
	case err == nil:
		out.Value, out.Written = uint64(l.record.Original), l.written
		g.end(l)
	case errors.Is(err, cgroupfs.ErrGone):
		if out.Verdict == arc.VerdictNone {
			out.Verdict, out.Cause = arc.VerdictReleased, err.Error()
		}
		g.end(l)
	default:
		l.deadline.Store(0)
		out.Verdict, out.Cause = arc.VerdictFailed, join(out.Cause, err.Error())
		g.config.Logger.Error("lease not given back, trying again", "cgroup", l.path, "knob", l.name(), "error", err)
	}
}

// restore is the way back: compare, knob, record. A way back that was cut short
// may have left a coupled file as it must not stay.
func (g *Guard) restore(l *lease) error {
	original := uint64(l.record.Original)
	current, err := g.read(l)
	if errors.Is(err, os.ErrNotExist) {
		return g.removeRecord(l) // the controller was taken from the cgroup, and with it every setting
	}
	if err != nil {
		return err
	}
	if err := g.recouple(l); err != nil {
		return err
	}
	if current != original && l.ours(current) {
		if err := g.turn(l, original); err != nil {
			return err
		}
	}
	return g.removeRecord(l)
}

// lose ends a lease whose knob somebody else rewrote: the value stays, the
// record goes, and the loss is counted on the cgroup.
func (g *Guard) lose(l *lease, current uint64, out *arc.Outcome) {
	out.Verdict, out.Original, out.Value = arc.VerdictLost, uint64(l.record.Original), current
	out.Cause = fmt.Sprintf("%s of %s is %s: somebody else rewrote it", l.name(), l.path, cgroupfs.AppendUint(nil, current))
	for file, v := range l.record.Coupled {
		out.Cause += fmt.Sprintf("; %s, left alone as well, was %s", file, cgroupfs.AppendUint(nil, uint64(v)))
	}
	g.config.Logger.Warn("lease lost", "cgroup", l.path, "knob", l.name(), "value", current)
	if err := g.countLoss(l); err != nil {
		out.Cause = join(out.Cause, err.Error())
	}
	l.lost = true
	g.forget(l, out)
}

// forget removes the record of a lost lease and nothing else. If that fails,
// Run comes back for it.
func (g *Guard) forget(l *lease, out *arc.Outcome) {
	out.Verdict = arc.VerdictLost
	if err := g.removeRecord(l); err != nil && !errors.Is(err, cgroupfs.ErrGone) {
		out.Cause = join(out.Cause, err.Error())
		l.deadline.Store(0)
		return
	}
	g.end(l)
}

// countLoss counts in memory and on the cgroup, so that neither a restart of
// the guard nor a full table forgets it.
func (g *Guard) countLoss(l *lease) error {
	n, err := g.lossesOf(l.dir)
	switch {
	case err != nil:
		n = handsOffAfter // what cannot be known is taken for the worst
	case !g.counted(l):
		n++
	}
	g.mu.Lock()
	if len(g.losses) >= maxLosses {
		clear(g.losses) // the cgroups still carry their own count
	}
	g.losses[l.key.cgroup] = n
	g.mu.Unlock()
	text, err := json.Marshal(handsOff{Losses: n, BootID: g.config.BootID, Granted: l.record.Granted})
	if err != nil {
		return fmt.Errorf("count loss of %s: %w", l.path, err)
	}
	if err := g.step("loss", l); err != nil {
		return err
	}
	if err := l.dir.Setxattr(handsOffRecord, text); err != nil && !errors.Is(err, cgroupfs.ErrGone) {
		return err
	}
	return nil
}

// counted reports whether the loss of this lease is on the cgroup already.
func (g *Guard) counted(l *lease) bool {
	var seen handsOff
	text, err := l.dir.Getxattr(handsOffRecord)
	return err == nil && json.Unmarshal(text, &seen) == nil && seen.BootID == g.config.BootID && seen.Granted == l.record.Granted && seen.Granted != 0
}

// maxLosses bounds the memory of lost cgroups.
const maxLosses = 1024

// lossesOf returns how often knobs of a cgroup were lost in this boot.
func (g *Guard) lossesOf(d *cgroupfs.Dir) (int, error) {
	g.mu.Lock()
	n := g.losses[d.ID()]
	g.mu.Unlock()
	text, err := d.Getxattr(handsOffRecord)
	if errors.Is(err, cgroupfs.ErrNoAttribute) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	var seen handsOff
	if err := json.Unmarshal(text, &seen); err != nil {
		return handsOffAfter, nil //nolint:nilerr // a count that cannot be read keeps hands off
	}
	if seen.BootID != g.config.BootID {
		return n, nil
	}
	return max(n, seen.Losses), nil
}

func (g *Guard) step(name string, l *lease) error {
	if g.config.Attributes == nil { // not in the self-test
		faultpoint.Pass(name)
	}
	if g.fault == nil {
		return nil
	}
	return g.fault(name, l.key.cgroup)
}

func join(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + "; " + b
}
