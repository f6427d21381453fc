// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// Aspect says what a closer look should show beside path, name, population and
// age, which it always does.
type Aspect uint8

const (
	// AspectMemory is the kinds of memory.
	AspectMemory Aspect = 1 << iota
	// AspectIO is the bytes read and written, and the device.
	AspectIO
	// AspectCPU is the CPU time by kind.
	AspectCPU
)

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
	// ReadBytes and WriteBytes are the bytes that the cgroup and its descendants
	// have read from and written to block devices, from io.stat.
	ReadBytes, WriteBytes uint64
	// CPUTime is the CPU time of the cgroup and its descendants since it was made, and
	// UserTime what of it was in user mode, in ns, from cpu.stat.
	CPUTime, UserTime uint64
	// Device is the block device that most of them went to since the look before,
	// as in [arc.Order]; 0 where none is known.
	Device uint64
	// Populated says that the cgroup or a descendant has a process.
	Populated bool
	// Age is that of the oldest process; negative where it is unknown.
	Age time.Duration
}

// Unreclaimable is the memory that goes away only when its owner frees it (or
// with swap).
func (i *Inspection) Unreclaimable() uint64 { return i.Anon + i.Kernel + i.Shmem }

// Interface names a network interface.
type Interface struct {
	Index uint32
	Name  string
}

// Inspector takes the closer look. It is called from the sampling goroutine, for
// at most [MaxInspected] cgroups a tick and resource, and only when an order or an
// alarm is near, or to learn who somebody is.
type Inspector interface {
	// Inspect fills into completely, but for the aspects not asked for. An error
	// means that the cgroup cannot be aimed at.
	Inspect(id uint64, what Aspect, into *Inspection) error
	// Flooded returns the interface that received most packets since it was asked
	// before, loopback excluded. An error means that there is none to shield.
	Flooded() (Interface, error)
}

// MaxInspected bounds the cgroups inspected at one tick for one resource.
const MaxInspected = 8
