// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"strings"

	"github.com/otelcol-reflex/reflex/bpf"
)

const remedyBPF = "run on Linux 6.1 or later with BTF (CONFIG_DEBUG_INFO_BTF), with CAP_BPF and CAP_PERFMON"

// openBPFNode opens what BPF can tell of the node, nil if nothing.
func (s *Sources) openBPFNode() *bpf.Node {
	node, err := bpf.OpenNode()
	if err != nil {
		r := bpf.Lacking("eBPF", err)
		s.lack("eBPF", r.Cause, r.Remedy)
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
		r := bpf.Lacking("tp_btf/sys_enter", err)
		s.lack("tp_btf/sys_enter", r.Cause, r.Remedy+"; until then system calls are not counted")
		return
	}
	s.closers = append(s.closers, syscalls)
	s.Node = nodeReaders{s.Node, syscalls}
	s.originsOfSyscalls(cycle)
}

// openBPFCgroups opens the BPF sweep, nil if it cannot be had.
func (s *Sources) openBPFCgroups(root string, set Settings) *bpf.Cgroups {
	open := bpf.OpenCgroups
	if set.CgroupNetwork {
		open = bpf.OpenCgroupsAndTraffic
	}
	cgroups, err := open(root, set.MaxCgroups)
	if err != nil {
		r := bpf.Lacking("iter/cgroup", err)
		s.lack("iter/cgroup", r.Cause, r.Remedy+"; until then cgroups are read from cgroupfs, at many times the cost")
		if set.CgroupNetwork {
			s.lack("cgroup_skb", "cgroups are read from cgroupfs, which does not say what they send and receive", r.Remedy+"; and CAP_NET_ADMIN")
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
