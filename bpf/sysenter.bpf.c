/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * System calls by their number. While attached, it costs every system call of
 * the machine about 80 ns, half of getppid: the loader attaches it for a small
 * share of the time only.
 */
#include "headers/kernel.h"

/* Beyond the last number of every architecture (about 470 in Linux 6.18). */
#define NUMBERS 512

struct syscall_counts {
	u64 count[NUMBERS];
};

/* One entry a CPU, sized by the loader; user space sums them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct syscall_counts);
} counts SEC(".maps");

/* sys_enter(struct pt_regs *, long id) */
SEC("tp_btf/sys_enter")
int count_syscall(u64 *ctx)
{
	u32 cpu = bpf_get_smp_processor_id();
	struct syscall_counts *c = bpf_map_lookup_elem(&counts, &cpu);
	u64 number = ctx[1];

	if (c && number < NUMBERS)
		__sync_fetch_and_add(&c->count[number], 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
