// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package bpf reads the state of a node and of every cgroup on it through small
// CO-RE programs: the kernel's own view, taken in one system call per tick and
// read from a memory mapping.
//
// It promises that a read disturbs nobody and allocates nothing: [Node.Read]
// adds up counters that the kernel keeps anyway, and [Cgroups.Sweep] visits all
// cgroups in one pass. Programs on events exist only for rare ones (fork, exec,
// exit, block completion, TCP retransmission, a TCP socket's change of state,
// direct reclaim); each stands alone, and one that this kernel cannot load is
// named by Missing, with what would help, and takes nothing else down. Programs on
// hot events are attached only for who asks: [Syscalls] for a short window of every
// period, those of [OpenCgroupsAndTraffic] on every packet, which they let pass.
//
// Programs that drop packets are apart ([OpenShield], [OpenThrottle],
// [OpenQuarantine]): only internal/guard attaches them. They need Linux 5.18 and
// CAP_NET_ADMIN besides, and nothing of BTF.
//
// It refuses to guess. A value that the kernel does not offer stays as the
// caller left it, and no path, process or container name is looked at: a cgroup
// is its id. It pins nothing: whatever it attaches ends with the process.
//
// The programs are compiled in (see gen.go) and need BTF, CAP_BPF and
// CAP_PERFMON: the node from Linux 5.19 on, the sweep of cgroups from 6.1. What
// they find by computed address is compared with /proc once, when it is opened.
//
// What is read goes into an arc.Sample; its next stop is the ebpf receiver.
package bpf
