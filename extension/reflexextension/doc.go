// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package reflexextension is the meeting point of the reflex arc. The sampler
// hands it one sample a tick; it takes the sample through the engine that is
// registered for its source and through internal/policy, and hands the orders
// to an executor that talks to the guard:
//
//	Observe(sample) ─▶ engine.Judge ─▶ policy.Step ─▶ mailbox ─▶ executor ─▶ guard
//	                                       ▲                        │
//	                                       └──── answers ◀──────────┘
//
// Everything up to the mailbox runs in the sampling goroutine. The package
// promises that this part waits for nobody (no guard, exporter, log or page
// reader) and does not allocate at steady state; that every decision is in the
// journal; that in observe mode every order says so; that a missing or hanging
// guard degrades it to observing and says so; that Shutdown releases what is
// held and never fails.
//
// It refuses to write a kernel knob itself, and to serve its status page to
// anything but loopback.
//
// The next stop of orders is internal/guard, of the journal's records the
// reflex receiver.
package reflexextension
