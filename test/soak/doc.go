// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package soak takes recordings of healthy machines through detection and policy,
// faster than real time, and counts what would have been done to whom.
//
//	tape.go       a recording in memory
//	stream.go     blocks of a tape, one after another, as one machine's life
//	seam.go       where one block may follow another
//	inspector.go  the policy's closer look, from a recording
//	guard.go      a guard that grants what the real one would
//	watch.go      engine, policy and guard, tick by tick
//	fault.go      what can go wrong
//	splice.go     a fault added to a healthy recording
//	trial.go      one fault, once: was it seen, was it contained, and when
//	poisson.go    what a count says about a rate
//	run.go        all of it, on all processors
//	report.go     figures, their table and their file
//
// The engine and the policy are the collector's own, configured as the components
// configure them by default, but for the mode, which enforces. The package
// promises that a counter never runs backwards and a cgroup id never stands for
// two lives, whatever is put after what, and that every containment of a healthy
// machine is told with its time, culprit and reason. It refuses recordings in
// which the policy could not look closer: their silence would be blindness.
//
// docs/soak.md says what the figures mean, and what they do not.
package soak
