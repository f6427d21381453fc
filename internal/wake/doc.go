// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package wake says when a sampler that samples slowly should look at once:
// tasks begin to stall, a process is killed for want of memory, allocations
// begin to reclaim, tasks are created as no work creates them.
//
//	cause.go    what wakes
//	watch.go    when it does, by the counters that BPF reads for a node anyway
//	trigger.go  stalls where BPF cannot read them: the kernel's PSI triggers
//
// A watch is looked at every [Every], by the sampling goroutine. That costs one
// reading of the node by BPF (3 µs) and the waking up: no program on any event,
// no other goroutine, and no thread of the kernel's for triggers.
//
// The package promises that a look neither blocks nor allocates, and that what
// goes on wakes once: only a beginning, after [Quiet] without, is a reason to
// look sooner. It refuses to judge whether anything is wrong.
//
// The data's next stop is internal/sampler.
package wake
