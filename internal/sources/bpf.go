// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"strings"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
)

const remedyBPF = "run on Linux 6.1 or later with BTF (CONFIG_DEBUG_INFO_BTF), with CAP_BPF and CAP_PERFMON"

// eventCounters are the counters that BPF keeps itself, from when it is opened;
// what else it reads, the kernel has counted since boot.
var eventCounters = []arc.NodeField{
	arc.NodeDirectReclaimTime,
	arc.NodeForks,
	arc.NodeExecs,
	arc.NodeExits,
	arc.NodeBlockOperations,
	arc.NodeBlockTime,
	arc.NodeBlockBytes,
	arc.NodeTCPRetransmits,
	arc.NodeTCPOpens,
}

// openBPFNode opens what BPF can tell of the node, nil if nothing.
func (s *Sources) openBPFNode() *bpf.Node {
	node, err := bpf.OpenNode()
	if err != nil {
		s.lack("eBPF", oneLine(err), remedyBPF)
		// One thing is usually behind all that failed: it is worth a line, the
		// programs that failed for it are not.
		for _, r := range bpf.Probe() {
			switch r.Name {
			case "BTF", "CAP_BPF", "CAP_PERFMON":
				s.lackAll([]bpf.Requirement{r})
			}
		}
		return nil
	}
	s.closers = append(s.closers, node)
	s.lackAll(node.Missing())
	return node
}

// openSyscalls lets system calls be counted, if that is wanted.
func (s *Sources) openSyscalls(cycle DutyCycle) {
	if cycle.Window == 0 {
		return
	}
	syscalls, err := bpf.OpenSyscalls(cycle.Window, cycle.Period)
	if err != nil {
		s.lack("tp_btf/sys_enter", oneLine(err), remedyBPF+"; until then system calls are not counted")
		return
	}
	s.closers = append(s.closers, syscalls)
	s.Node = nodeReaders{s.Node, syscalls}
}

// openBPFCgroups opens the BPF sweep, nil if it cannot be had.
func (s *Sources) openBPFCgroups(root string, set Settings) *bpf.Cgroups {
	open := bpf.OpenCgroups
	if set.CgroupNetwork {
		open = bpf.OpenCgroupsAndTraffic
	}
	cgroups, err := open(root, set.MaxCgroups)
	if err != nil {
		s.lack("iter/cgroup", oneLine(err), remedyBPF+"; until then cgroups are read from cgroupfs, at a hundred times the cost")
		if set.CgroupNetwork {
			s.lack("cgroup_skb", "cgroups are read from cgroupfs, which does not say what they send and receive", remedyBPF+" and CAP_NET_ADMIN")
		}
		return nil
	}
	s.closers = append(s.closers, cgroups)
	s.lackAll(cgroups.Missing())
	return cgroups
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func (s *Sources) lackAll(all []bpf.Requirement) {
	for _, r := range all {
		if !r.Present {
			s.lack(r.Name, r.Cause, r.Remedy)
		}
	}
}
