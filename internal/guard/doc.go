// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package guard is the only code of Reflex that writes to the kernel. It takes
// orders about one cgroup at a time and carries them out as leases.
//
// A lease is a knob held away from its original for a bounded time. Its record
// is an extended attribute on the cgroup itself (trusted.reflex.lease.<action>),
// written before the knob is turned and removed after the original is back, so
// that whoever looks next finds every knob that was turned, without a path, a
// pid or a file of ours. [New] looks, and gives every original back before it
// returns.
//
// Actions on the network hold no knob. What they put into the kernel are BPF
// programs (package bpf) with a deadline of their own, on links that nothing else
// refers to: they end with the guard, so that there is nothing to record, and
// past the deadline they let everything pass, should the guard hang. Target,
// safelist, budgets, expiry, generations, kill switch, audit and observing are the
// same. What they never cut is compiled in and named by [Network], not by orders.
//
// The package promises, whatever an order says:
//
//   - A knob is only tightened: never looser than its original, never
//     memory.max, never below a floor of its own; memory.high never starts below
//     the usage of the moment, nor below what cannot be reclaimed plus a margin,
//     and within a lease it only rises.
//   - What turning a knob changes elsewhere (cpu.idle resets cpu.weight) is put
//     back with it, and what is beside it in its file is not touched.
//   - The root, slices, init, the guard, whoever gives it orders, their
//     ancestors, the kubelet, container runtimes, sshd, systemd's own services,
//     dbus, journald, udev, CNI and storage daemons are never touched, whether
//     the target is one of them or merely holds one. An order without a target
//     is an error.
//   - The one exception, a quarantine of the node, is an order of its own: root's
//     alone, by the kernel's word on who connected, never the collector's.
//   - Every lease ends by itself within 250 ms of its deadline (CLOCK_BOOTTIME,
//     1 to 60 s ahead) while [Guard.Run] runs.
//   - A knob that somebody else rewrote is theirs: the lease is over, the value
//     stays. After the second time the cgroup is left alone for this boot.
//   - The kill switch, a file, releases everything and refuses everything.
//   - An order with Observe set goes the same way and writes nothing.
//
// It refuses to judge: which cgroup deserves what is internal/policy's
// business. It trusts no order to be well meant, bounds every table it keeps,
// and needs neither network nor disk to release.
//
// A record that cannot be read holds an original nobody knows. The guard does
// not guess: the knob is left as it is, the record stays as evidence, no lease
// is granted on that cgroup, and [Status] lists it as damaged until somebody
// sets the knob and removes the attribute by hand.
//
// There is no compare-and-swap on cgroup files: between reading a knob and
// writing it lie microseconds in which another owner's write goes unnoticed.
//
// Orders arrive by call ([Guard.Act], the guard embedded in a collector) or
// over a unix socket ([Serve], [Dial]); the data's next stop is the kernel.
package guard
