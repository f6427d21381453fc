// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Program is one program of this package, and what it costs.
type Program struct {
	// Name is that of its function, by which the kernel lists it.
	Name string
	// Section says where it is attached, and is the name of its [Requirement],
	// which the two programs on packets share.
	Section string
	// Event is what one run is paid for, with its article: "a fork".
	Event string
	// Cost is what one run takes as measured (docs/benchmarks.md says on what;
	// the kernel's statistics themselves are about 70 ns of it, except where
	// noted). It is a magnitude: other machines, other nanoseconds.
	Cost time.Duration
}

// Programs are all programs of this package. A new one gets its line here.
var Programs = [...]Program{
	{"sample_node", "syscall/sample_node", "a tick", 600 * time.Nanosecond},
	{"sweep_cgroup", "iter/cgroup", "a cgroup and tick", 330 * time.Nanosecond},
	{"count_fork", "tp_btf/sched_process_fork", "a fork", 200 * time.Nanosecond},
	{"count_exec", "tp_btf/sched_process_exec", "an exec", 250 * time.Nanosecond},
	{"count_exit", "tp_btf/sched_process_exit", "an exit", 240 * time.Nanosecond},
	{"count_block", "tp_btf/block_rq_complete", "a block request", 170 * time.Nanosecond},
	{"count_retransmit", "tp_btf/tcp_retransmit_skb", "a retransmission", 110 * time.Nanosecond},
	{"count_synack", "tp_btf/tcp_retransmit_synack", "a SYN-ACK again", 140 * time.Nanosecond},
	{"count_connect", "tp_btf/inet_sock_set_state", "a TCP state", 65 * time.Nanosecond},
	{"begin_reclaim", "tp_btf/mm_vmscan_direct_reclaim_begin", "a direct reclaim", 860 * time.Nanosecond},
	{"end_reclaim", "tp_btf/mm_vmscan_direct_reclaim_end", "a direct reclaim", 700 * time.Nanosecond},
	{"count_received", requirementTraffic, "a packet received", 33 * time.Nanosecond}, // without the statistics: docs/sensing.md
	{"count_sent", requirementTraffic, "a packet sent", 33 * time.Nanosecond},         // as above
	{"count_open", requirementOpens, "a TCP state", 66 * time.Nanosecond},
	{"count_syscall", "tp_btf/sys_enter", "a system call", 81 * time.Nanosecond}, // BenchmarkGetppid, docs/sensing.md
}

// TrafficRequirements are those of [OpenCgroupsAndTraffic] besides what a sweep
// needs: of packets, and of connections.
var TrafficRequirements = [...]string{requirementTraffic, requirementOpens}

const (
	requirementTraffic = "cgroup_skb"
	requirementOpens   = "tp_btf/inet_sock_set_state by cgroup"
)

// Need says what a [Requirement] is for: the dimensions that this package does
// not fill without it. Dimensions have several requirements; a program that
// fills them is one of them.
type Need struct {
	// Requirement is the name of the requirement.
	Requirement string
	// Program is the program that the requirement is; zero where it is something
	// else.
	Program Program
	// Kept says that without it the kernel itself does not keep these dimensions
	// of cgroups: no file has them either.
	Kept   bool
	Node   []arc.NodeField
	Cgroup []arc.CgroupField
}
