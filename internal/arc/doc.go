// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package arc holds the contracts of the reflex arc and nothing else: what one
// tick of the sampler looks like ([Sample]), what the engine says about it
// ([Judgement]), what the policy asks the guard to do ([Order]) and what came
// of it ([Outcome]), and the one word that flows back ([Control]).
//
// The arc is the first of Reflex's two roads:
//
//	kernel ─▶ sampler ─Sample▶ engine ─Judgement▶ policy ─Order▶ guard ─▶ cgroup v2
//
// It is typed, in-process and synchronous; at steady state it allocates nothing
// and it waits for no exporter, disk, name service or network. The second road,
// ordinary Collector pipelines, carries the same ticks as telemetry and may be
// slow, blocked or absent.
//
// The package promises that its types can be used from the sampling goroutine
// without locks or allocation. It refuses to contain behaviour: no clock, no
// I/O, no OpenTelemetry types. The data's next stop after a Sample is
// internal/detect, after a Judgement internal/policy, after an Order
// internal/guard.
//
// All instants are nanoseconds of CLOCK_BOOTTIME unless a name says otherwise;
// all sizes are bytes; all durations carried as integers are nanoseconds.
package arc
