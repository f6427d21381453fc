// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// Inspection is what a closer look at one cgroup shows: values that are too
// costly to read for every cgroup at every tick, read for the few that an order
// may be about.
type Inspection struct {
	// Path is relative to the cgroup root and starts with a slash.
	Path string
	// Name identifies the workload across restarts: the path without the parts
	// that change each time.
	Name string
	// Anon, Kernel, Shmem and File are bytes from memory.stat, descendants
	// included. File is page cache only: shared memory is counted in Shmem.
	Anon, Kernel, Shmem, File uint64
	// Populated says that the cgroup or a descendant has a process.
	Populated bool
	// Age is that of the oldest process; negative where it is unknown.
	Age time.Duration
}

// Unreclaimable is the memory that goes away only when its owner frees it (or
// with swap).
func (i *Inspection) Unreclaimable() uint64 { return i.Anon + i.Kernel + i.Shmem }

// Inspector takes the closer look. Inspect is called from the sampling
// goroutine, for at most [MaxInspected] cgroups a tick and only when an order is
// near; it fills into completely. An error means that the cgroup cannot be
// aimed at.
type Inspector interface {
	Inspect(id uint64, into *Inspection) error
}

// MaxInspected bounds the cgroups inspected at one tick.
const MaxInspected = 8
