// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

import "math"

const (
	// Absent marks a missing value in a [Sweep] column. Missing is not zero.
	Absent uint64 = math.MaxUint64
	// Unlimited stands for the word "max" in a limit column of a [Sweep].
	// Every limit at or above it means the same.
	Unlimited uint64 = 1 << 62
)

// Node is the node's state at one tick, indexed by [NodeField], in the units of
// [NodeFields]. NaN marks a missing value.
type Node [NumNodeFields]float64

// Sample is what the sampler hands to the arc at one tick. The sampler owns it
// and reuses it: nobody keeps a pointer to it, or to its columns, after Observe
// or Judge return.
type Sample struct {
	// Source is the component that sampled, e.g. "ebpf".
	Source string
	// Sequence grows by one a tick and starts at 1.
	Sequence uint64
	// WallTime is the tick's time of day in nanoseconds since the Unix epoch.
	WallTime int64
	// Scheduled is when the tick was due, Taken when its gauges were read
	// (CLOCK_BOOTTIME, ns). Their difference is the sampler's lateness.
	Scheduled int64
	Taken     int64
	// Interval is the sampling interval in force, Period the one that the source
	// has when nothing hurries it, both in ns. What is usual is known of Period
	// only: an engine decides no more often than that. A Period of 0 is Interval.
	Interval int64
	Period   int64
	// Missed counts the ticks skipped since the previous sample.
	Missed uint32

	Node    Node
	Cgroups Sweep
}

// Sweep is one pass over every cgroup, as a struct of arrays. Row i of every
// slice belongs to the same cgroup. Parents come before their children.
type Sweep struct {
	// ID is the kernel's cgroup id (the inode number of its directory).
	ID []uint64
	// Parent is the id of the parent, 0 for the root.
	Parent []uint64
	// Columns holds one slice per [CgroupField], each as long as ID, or empty
	// where the source cannot fill it. Bytes and nanoseconds; [Absent] marks a
	// missing value, [Unlimited] the absence of a limit.
	Columns [NumCgroupFields][]uint64
	// Truncated counts cgroups left out because the sweep was full.
	Truncated uint32
}

// Len returns the number of cgroups in the sweep.
func (s *Sweep) Len() int { return len(s.ID) }

// Value returns column f of row i, or [Absent].
func (s *Sweep) Value(f CgroupField, i int) uint64 {
	c := s.Columns[f]
	if i >= len(c) {
		return Absent
	}
	return c[i]
}

// Reset empties the sweep and keeps its memory.
func (s *Sweep) Reset() {
	s.ID, s.Parent, s.Truncated = s.ID[:0], s.Parent[:0], 0
	for f := range s.Columns {
		s.Columns[f] = s.Columns[f][:0]
	}
}

// Append adds a row whose columns are all [Absent] and returns its index.
func (s *Sweep) Append(id, parent uint64) int {
	s.ID, s.Parent = append(s.ID, id), append(s.Parent, parent)
	for f := range s.Columns {
		s.Columns[f] = append(s.Columns[f], Absent)
	}
	return len(s.ID) - 1
}

// Set writes column f of row i.
func (s *Sweep) Set(f CgroupField, i int, v uint64) { s.Columns[f][i] = v }
