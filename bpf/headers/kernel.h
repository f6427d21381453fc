/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/*
 * The kernel's own types, cut down to the fields that are read. Every access is
 * relocated against the running kernel's BTF (CO-RE), so neither the order nor
 * the size of anything here matters, only names and kinds. A suffix after three
 * underscores names a flavour: the same kernel type at another kernel version.
 */
#ifndef REFLEX_KERNEL_H
#define REFLEX_KERNEL_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;
typedef _Bool bool;

enum {
	false,
	true,
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* The parts of the bpf(2) ABI used here (include/uapi/linux/bpf.h). */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PERCPU_HASH 5
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_F_NO_PREALLOC (1U << 0)
#define BPF_F_MMAPABLE (1U << 10)

/* Marks a value that is not there. Missing is not zero. */
#define ABSENT (~0ULL)

/* The kernel's own bound on CPU numbers (NR_CPUS on the largest builds). */
#define MAX_CPUS 8192

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct seqcount {
	unsigned int sequence;
};

struct sched_info {
	unsigned long long run_delay;
};

typedef struct {
	int counter;
} atomic_t;

struct rq {
	unsigned int nr_running;
	unsigned long nr_uninterruptible; /* unsigned int until 6.17 */
	atomic_t nr_iowait;
	u64 nr_switches;
	u64 clock;
	int cpu;
	struct sched_info rq_sched_info; /* CONFIG_SCHEDSTATS */
};

struct cfs_rq {
	struct rq *rq; /* CONFIG_FAIR_GROUP_SCHED, as is cfs_rq below */
};

struct sched_entity {
	struct cfs_rq *cfs_rq;
};

struct task_struct {
	struct sched_entity se;
};

enum cpu_usage_stat {
	CPUTIME_USER,
	CPUTIME_NICE,
	CPUTIME_SYSTEM,
	CPUTIME_SOFTIRQ,
	CPUTIME_IRQ,
	CPUTIME_STEAL,
};

struct kernel_cpustat {
	u64 cpustat[1];
};

/* Which of these exist, and their numbers, depend on the kernel's build. */
enum vm_event_item {
	PSWPIN,       /* CONFIG_SWAP */
	PSWPOUT,
	COMPACTSTALL, /* CONFIG_COMPACTION */
	ALLOCSTALL_DMA,
	ALLOCSTALL_DMA32,
	ALLOCSTALL_NORMAL,
	ALLOCSTALL_MOVABLE,
	ALLOCSTALL_DEVICE,
	PGFAULT,
	PGMAJFAULT,
	OOM_KILL,
};

struct vm_event_state {
	unsigned long event[1];
};

enum psi_states {
	PSI_IO_SOME,
	PSI_IO_FULL,
	PSI_MEM_SOME,
	PSI_MEM_FULL,
	PSI_CPU_SOME,
	PSI_NONIDLE,
};

struct psi_group_cpu {
	u32 state_mask;
	u32 times[1];
	u64 state_start;
	u32 times_prev[2];
};

/* Until the sequence counter became one per CPU (psi_seq, 6.17). */
struct psi_group_cpu___seq {
	struct seqcount seq;
};

struct psi_group {
	bool enabled; /* cgroup.pressure, 6.1 */
	struct psi_group_cpu *pcpu;
	u64 total[1];
};

struct task_cputime {
	unsigned long long sum_exec_runtime;
};

struct cgroup_base_stat {
	struct task_cputime cputime;
};

/* Until base statistics were taken out of the controllers' tree (6.16). */
struct cgroup_rstat_cpu {
	struct cgroup_base_stat bstat;
	struct cgroup_base_stat last_bstat;
};

struct cgroup_rstat_base_cpu {
	struct cgroup_base_stat bstat;
	struct cgroup_base_stat last_bstat;
};

struct kernfs_node {
	u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
	int nr_populated_csets;    /* in 7.3, see cgroup___populated */
	int nr_populated_children;
};

enum cgroup_subsys_id {
	cpu_cgrp_id,
	memory_cgrp_id,
	pids_cgrp_id,
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[1]; /* by level, itself last; 6.1 */
	struct cgroup_subsys_state *subsys[1];
	struct cgroup_rstat_base_cpu *rstat_base_cpu; /* 6.16 */
	struct cgroup_base_stat last_bstat;
	struct cgroup_base_stat bstat;
	struct psi_group *psi; /* a pointer since 6.1, which iter/cgroup needs too */
};

struct cgroup___rstat {
	struct cgroup_rstat_cpu *rstat_cpu;
};

/* Before every state of a controller counted who lives in it (not yet in 6.18). */
struct cgroup___populated {
	int nr_populated_csets;
	int nr_populated_domain_children;
	int nr_populated_threaded_children;
};

typedef struct {
	s64 counter;
} atomic64_t;

struct page_counter {
	atomic64_t usage;
	unsigned long high;
	unsigned long max;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
	struct page_counter memory;
	struct page_counter swap; /* in a union with what v1 counts instead */
};

struct cfs_bandwidth {
	int nr_periods;
	int nr_throttled;
	u64 throttled_time;
};

struct task_group {
	struct cgroup_subsys_state css;
	struct cfs_bandwidth cfs_bandwidth; /* CONFIG_CFS_BANDWIDTH */
};

struct pids_cgroup {
	struct cgroup_subsys_state css;
	atomic64_t counter;
	atomic64_t limit;
};

struct bpf_iter_meta {
	u64 session_id;
};

struct bpf_iter__cgroup {
	struct bpf_iter_meta *meta;
	struct cgroup *cgroup;
};

/* A per-CPU array of BPF: pptrs[i] is the per-CPU address of element i. */
struct bpf_array {
	void *pptrs[1];
};

struct request {
	unsigned int __data_len;
	u64 io_start_time_ns;
};

struct in6_addr {
};

struct sock_common {
	unsigned short skc_family;
	__be32 skc_daddr;
	struct in6_addr skc_v6_daddr; /* CONFIG_IPV6 */
};

struct sock_cgroup_data {
	struct cgroup *cgroup; /* alone since 5.16 */
};

struct sock {
	struct sock_common __sk_common;
	unsigned short sk_protocol;
	struct sock_cgroup_data sk_cgrp_data; /* CONFIG_SOCK_CGROUP_DATA */
};

struct sk_buff {
	char cb[48];
};

struct tcp_skb_cb {
	unsigned short tcp_gso_segs;
};

#pragma clang attribute pop

#endif
