// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"slices"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/procfs"
)

// LookedAt are the columns of a cgroup that are read from its files whether
// there is BPF or not (package cgroupstat), by file. What the kernel writes there
// may be LookAge old.
var LookedAt = map[string][]arc.CgroupField{
	"memory.stat": {
		arc.CgroupMemoryAnon, arc.CgroupMemoryFile, arc.CgroupMemoryUnreclaimable, arc.CgroupPageFaults, arc.CgroupMajorFaults,
	},
	"io.stat": {
		arc.CgroupReadBytes, arc.CgroupWriteBytes, arc.CgroupReadOperations, arc.CgroupWriteOperations,
	},
}

// LookAge is also how often a look at the same cgroup is worth its price.
const LookAge = 2 * time.Second

// own are the needs of the requirements that this package names itself.
var own = map[string]bpf.Need{
	"eBPF":              bpfNeed("BTF"),
	"cgroup v2":         {Kept: true, Cgroup: allColumns()},
	"cgroupfs":          {Kept: true, Cgroup: allColumns()},
	"memory controller": {Kept: true, Cgroup: LookedAt["memory.stat"]},
	"io controller":     {Kept: true, Cgroup: LookedAt["io.stat"]},
	"PSI triggers":      {}, // no dimension, but when a slow sampler looks
	"early wake":        {}, // as above
	"file descriptors":  {}, // no dimension, but all of those cgroups that they do not suffice for
}

// NeedOf returns what a requirement is for, by what this package, package bpf
// and package procfs say of it; false if none of them knows it.
func NeedOf(requirement string) (bpf.Need, bool) {
	if fields := procfs.FieldsOf(strings.TrimPrefix(requirement, procRoot+"/")); fields != nil {
		return bpf.Need{Requirement: requirement, Node: fields}, true
	}
	need, known := own[requirement]
	of := bpfNeed(requirement)
	if of.Requirement != "" {
		known = true
		need.Program, need.Node = of.Program, append(need.Node, of.Node...)
		need.Kept = need.Kept || of.Kept
	}
	for _, f := range of.Cgroup {
		if !slices.Contains(need.Cgroup, f) {
			need.Cgroup = append(slices.Clip(need.Cgroup), f)
		}
	}
	need.Requirement = requirement
	return need, known
}

func bpfNeed(requirement string) bpf.Need {
	for _, n := range bpf.Needs() {
		if n.Requirement == requirement {
			return n
		}
	}
	return bpf.Need{}
}

func allColumns() []arc.CgroupField {
	all := make([]arc.CgroupField, arc.NumCgroupFields)
	for i := range all {
		all[i] = arc.CgroupField(i)
	}
	return all
}
