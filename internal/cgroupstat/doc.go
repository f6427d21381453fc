// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package cgroupstat takes a closer look at single cgroups: what memory is used
// for, page faults, and I/O, from memory.stat and io.stat.
//
// The sweep cannot fill these columns. The kernel gathers the numbers behind
// memory.stat from its CPUs when somebody reads them, and else every two seconds;
// where each number lies differs by kernel, and newer ones have a table that says
// so, which BPF cannot find without CAP_SYSLOG; those behind io.stat lie in a list
// for each cgroup. So the files are read, of few cgroups and seldom, outside of
// the arc.
//
// The package promises that a value is of the look at which it was read: memory
// at most two seconds old then (what is younger is bounded by the kernel, 64
// updates for each CPU), I/O as of then. It refuses to repeat an earlier value:
// a column of a row that was not looked at is absent.
//
// The data's next stop is the writer of metrics in package ebpfreceiver, and the
// recording that `reflexctl record --closer-look` makes.
package cgroupstat
