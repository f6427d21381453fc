// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// inspector is the policy's closer look at the sample at hand. What the reflex
// extension reads from memory.stat, the recording has; age is since the cgroup was
// first seen with a task, and the name is the path, since nothing here is a
// container.
type inspector struct {
	stream *Stream
	sample *arc.Sample
}

// Inspect implements [policy.Inspector].
func (i *inspector) Inspect(id uint64, _ policy.Aspect, into *policy.Inspection) error {
	s := &i.sample.Cgroups
	row := slices.Index(s.ID, id)
	if row < 0 {
		return fmt.Errorf("open cgroup %d: it is gone", id)
	}
	anon, firm := s.Value(arc.CgroupMemoryAnon, row), s.Value(arc.CgroupMemoryUnreclaimable, row)
	if anon == arc.Absent || firm == arc.Absent {
		return fmt.Errorf("read memory.stat of cgroup %d: it was not recorded", id)
	}
	// Shared memory is in both, and cannot be told apart: it counts as the
	// kernel's, which is as unreclaimable.
	path := i.stream.Path(id)
	*into = policy.Inspection{
		Path: path, Name: path, Anon: anon, Kernel: firm - min(firm, anon), File: known(s.Value(arc.CgroupMemoryFile, row)),
		ReadBytes: known(s.Value(arc.CgroupReadBytes, row)), WriteBytes: known(s.Value(arc.CgroupWriteBytes, row)), Device: disk,
		Populated: populated(s, row), Age: i.stream.Age(id),
	}
	return nil
}

// disk stands for the only one that a recorded machine has: recordings do not name
// it.
const disk = 259 << 32

// known is a value, or 0 where there is none.
func known(v uint64) uint64 {
	if v == arc.Absent {
		return 0
	}
	return v
}

// Flooded implements [policy.Inspector]. A recording knows the sum of the
// interfaces only, so that there is none to shield.
func (i *inspector) Flooded() (policy.Interface, error) {
	return policy.Interface{}, errors.New("a recording does not tell interfaces apart")
}
