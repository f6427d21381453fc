// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package policy turns judgements into levels and levels into orders. It is
// pure rules: it reads no clock, does no I/O and knows no telemetry; all it
// learns comes in through [Policy.Step], [Policy.Answer] and an [Inspector].
//
//	arc.Sample + arc.Judgement ─▶ Step ─▶ Decision{Level, Orders, Events, Control}
//	arc.Order + arc.Outcome    ─▶ Answer (the guard's reply, at the next tick)
//
// Score to look, harm to act, attribution to aim:
//
//   - Level 0 to 1 needs an anomaly on a fresh judgement of a ready engine. Level
//     1 touches nobody: it samples faster and stops the learning.
//   - Level 1 to 2 and above needs three things at once: an anomaly that persists,
//     harm that gets worse (measured or projected within a horizon), and exactly
//     one culprit who causes it, with a margin over the runner-up. Growth counts,
//     not size; waiting that is caused, not suffered.
//   - The pressed resource chooses what is done, mildest first; the level caps how
//     hard. Each resource is one file: memory (with ceiling), pids, cpu, io,
//     network. What they share: the culprit and what holds for every order
//     (culprit), rates and what is usual (rates), what rises, stands or falls
//     (trend), budgets (budget).
//   - The next rung of a resource's ladder is taken no sooner than the one before
//     could show its effect, and not while the harm falls. A rung that the guard
//     does not have, or refuses twice, is passed over.
//   - A cap (brake) is halved within its lease while others still wait, and eased as
//     they stop.
//   - What is held is a lease that is renewed, and released when its cgroup has
//     not pressed against it for long enough, the hardest first; longer each time
//     it recurs.
//
// It promises that one Step changes the level by at most one and opens at most
// one lease; that no more leases are held and begun than the budgets allow; that
// every decision, refusals included, becomes one [Event] with its numbers and is
// not repeated at every tick; that observing differs from enforcing in
// Order.Observe and nothing else; that Step does not allocate at steady state;
// and that all of its state is bounded.
//
// It refuses to aim at the root, at slices, at the safelist, at the collector
// itself and its ancestors, at a cgroup it cannot inspect, and at page cache.
// The guard checks all of this again: nothing here is a security boundary.
//
// The orders' next stop is internal/guard, the events' internal/episode, the
// control word's the sampler and the engines.
package policy
