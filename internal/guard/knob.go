// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// knob is what an action turns. A new actuator is an implementation of it and a
// row in newKnobs; leases, safelist, budgets, expiry and recovery come with it.
// What is no file, a BPF link, is a row like the others: read tells what the link
// of this guard lets through ([arc.Unlimited] without one), and write attaches,
// sets or closes it.
type knob interface {
	// file is the cgroup's file.
	file() string
	// domain reports whether threaded cgroups cannot have the file.
	domain() bool
	// device reports whether the knob is one of a block device's.
	device() bool
	// read returns the value in force, in the unit of the action's parameter.
	read(t target) (uint64, error)
	// write turns the knob and nothing else in its file.
	write(t target, v uint64) error
	// grant returns the first value of a lease that asks for want: at least the
	// knob's own floor for this cgroup. The guard refuses what does not tighten.
	grant(t target, original, want, margin uint64) (uint64, error)
	// move returns the next value of a lease that holds value and asks for want.
	// The guard stops it at the original.
	move(t target, value, want uint64) (uint64, error)
	// back returns the value that a lease of value goes on from where the owner wrote
	// current, which is looser.
	back(t target, value, current uint64) uint64
	// tightens reports whether a cgroup with the value v has less than with w.
	tightens(v, w uint64) bool
	// canonical returns v as the kernel keeps it.
	canonical(v uint64) uint64
	// span returns how far above value a lease's interval is declared ahead.
	span(value uint64) uint64
	// coupled is the other file that turning the knob changes, "" for most.
	coupled() string
	// disturbed reports whether the coupled file's value is what turning the knob
	// makes of original; any other is its owner's.
	disturbed(current, original uint64) bool
	// coveredBy is the action whose lease takes this knob's file, coupled to it,
	// out of reach; [arc.ActionNone] for most.
	coveredBy() arc.Action
}

// target is whose knob it is.
type target struct {
	dir    *cgroupfs.Dir
	device device
}

// newKnobs returns the actuators of one guard.
func newKnobs() map[arc.Action]knob {
	return map[arc.Action]knob{
		arc.ActionMemoryHigh: memoryHigh{setting{name: "memory.high", controller: "memory"}},
		arc.ActionCPUWeight:  cpuWeight{setting{name: "cpu.weight", controller: "cpu"}},
		arc.ActionCPUIdle:    cpuIdle{toggle{setting{name: "cpu.idle", controller: "cpu", beside: "cpu.weight", lacking: "it is older than 5.15"}}},
		arc.ActionCPUMax:     cpuMax{setting{name: "cpu.max", controller: "cpu", beside: "cpu.weight", lacking: "it has no CFS bandwidth control"}},
		arc.ActionIOWeight:   ioWeight{setting{name: "io.weight", controller: "io", beside: "io.stat", lacking: "it has no iocost"}},
		arc.ActionIOMaxRead:  ioMax{setting{name: "io.max", controller: "io", beside: "io.stat", lacking: "it has no block throttling"}, "rbps"},
		arc.ActionIOMaxWrite: ioMax{setting{name: "io.max", controller: "io", beside: "io.stat", lacking: "it has no block throttling"}, "wbps"},
		arc.ActionPidsMax:    pidsMax{setting{name: "pids.max", controller: "pids"}},
		arc.ActionFreeze:     toggle{setting{name: "cgroup.freeze", beside: "cgroup.type", lacking: "it is older than 5.2"}},
	}
}

// setting is what most knobs have in common: a file whose smaller values are
// tighter, with which nothing else changes.
type setting struct {
	name       string
	controller string // "" is the cgroup's own
	beside     string // is there where only the kernel lacks the file
	lacking    string // and why it does
}

func (s setting) file() string { return s.name }

// domain: the other controllers also work on threads.
func (s setting) domain() bool { return s.controller == "memory" || s.controller == "io" }

func (setting) device() bool                      { return false }
func (setting) back(_ target, v, _ uint64) uint64 { return v }
func (setting) tightens(v, w uint64) bool         { return v < w }
func (setting) canonical(v uint64) uint64         { return v }
func (setting) span(uint64) uint64                { return 0 }
func (setting) coupled() string                   { return "" }
func (setting) disturbed(uint64, uint64) bool     { return false }
func (setting) coveredBy() arc.Action             { return arc.ActionNone }
func (s setting) write(t target, v uint64) error  { return t.dir.WriteUint(s.name, v) }
func (s setting) text(t target, buf []byte) ([]byte, error) {
	text, err := t.dir.ReadFile(s.name, buf)
	return text, s.absent(t, err)
}

func (s setting) read(t target) (uint64, error) {
	v, err := t.dir.ReadUint(s.name)
	return v, s.absent(t, err)
}

// absent says why a file is not there.
func (s setting) absent(t target, err error) error {
	switch {
	case !errors.Is(err, os.ErrNotExist):
		return err
	case s.beside != "" && t.dir.Exists(s.beside):
		return fmt.Errorf("%w: %w", refusal(arc.RefusedKnob+" "+s.name+": "+s.lacking), err)
	case s.controller == "":
		return err
	}
	return fmt.Errorf("%w: %w", refusal("the "+s.controller+" controller is not enabled for this cgroup"), err)
}

// toggle is a knob that is on or off, of which on is the tighter: there is
// nothing in between and nothing to move.
type toggle struct{ setting }

func (toggle) tightens(v, w uint64) bool { return v > w }

func (k toggle) grant(_ target, _, want, _ uint64) (uint64, error) {
	if want != 1 {
		return 0, refusal(fmt.Sprintf("%s can be held at 1 and nothing else, not at %d", k.name, want))
	}
	return 1, nil
}

func (toggle) move(_ target, value, _ uint64) (uint64, error) { return value, nil }

// refusal is an error that is the guard's decision, not the kernel's failure.
type refusal string

func (r refusal) Error() string { return string(r) }
