/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/*
 * Live pressure stall times of one CPU, after get_recent_times() in
 * kernel/sched/psi.c: u32 nanosecond counters per state, plus the time since
 * state_start for every state the CPU is in right now.
 */
#ifndef REFLEX_PSI_H
#define REFLEX_PSI_H

#include "percpu.h"

/* The stalls reported, in the order of arc's fields, then the weight. */
enum stall {
	CPU_SOME,
	MEMORY_SOME,
	MEMORY_FULL,
	IO_SOME,
	IO_FULL,
	STALLS,
	NONIDLE = STALLS,
	STATES,
};

/* Up to the end of the part of times_prev in use: 92 bytes, or 96 with IRQ time. */
#define PSI_CPU_BYTES 128
#define PSI_ATTEMPTS 4

struct psi_times {
	u32 now[STATES];     /* ns modulo 2^32, the running stall included */
	u32 flushed[STATES]; /* what of it is in psi_group.total already */
};

#define psi_time(group, running, times, state, name)                                               \
	({                                                                                         \
		u32 i_ = bpf_core_enum_value(enum psi_states, name);                               \
		u32 t_ = *(u32 *)((group) + bpf_core_field_offset(struct psi_group_cpu, times) +   \
				  i_ * 4);                                                         \
		if (mask & (1U << i_))                                                             \
			t_ += running;                                                             \
		(times)->now[state] = t_;                                                          \
		(times)->flushed[state] =                                                          \
			*(u32 *)((group) +                                                         \
				 bpf_core_field_offset(struct psi_group_cpu, times_prev) +         \
				 i_ * 4);                                                          \
	})

/*
 * psi_since is the time from before to now. The clock used for a running stall
 * is the latest of any CPU's and may lag behind the one used before: a quarter
 * of the range of u32 is taken for that, three quarters (3.2 s) for progress.
 */
static __always_inline u32 psi_since(u32 now, u32 before)
{
	u32 since = now - before;

	return since < 3U << 30 ? since : 0;
}

/*
 * psi_read takes a consistent copy of the times at address, of the CPU whose
 * per-CPU section is at section. False when the kernel was writing at every
 * attempt.
 */
static __always_inline bool psi_read(u64 address, u64 section, u64 clock, struct psi_times *times)
{
	const u64 bytes = bpf_core_field_offset(struct psi_group_cpu, times_prev) +
			  (bpf_core_enum_value(enum psi_states, PSI_NONIDLE) + 1) * 4;
	char group[PSI_CPU_BYTES] __attribute__((aligned(8)));
	u64 sequence = 0;
	u32 before = 0, after = 0, mask, running = 0;
	u64 start;

	if (bytes > sizeof(group))
		return false;
	if (bpf_core_field_exists(struct psi_group_cpu___seq, seq))
		sequence = address + bpf_core_field_offset(struct psi_group_cpu___seq, seq);
	else if (psi_seq != NOWHERE && section)
		sequence = section + psi_seq;

	for (int attempt = 0; attempt < PSI_ATTEMPTS; attempt++) {
		if (sequence && read_kernel(&before, sequence))
			return false;
		if (bpf_probe_read_kernel(group, bytes, (const void *)address))
			return false;
		if (!sequence)
			goto consistent;
		if (read_kernel(&after, sequence))
			return false;
		if (before == after && !(before & 1))
			goto consistent;
	}
	return false;

consistent:
	mask = *(u32 *)(group + bpf_core_field_offset(struct psi_group_cpu, state_mask));
	start = *(u64 *)(group + bpf_core_field_offset(struct psi_group_cpu, state_start));
	if (clock > start)
		running = clock - start;
	psi_time(group, running, times, CPU_SOME, PSI_CPU_SOME);
	psi_time(group, running, times, MEMORY_SOME, PSI_MEM_SOME);
	psi_time(group, running, times, MEMORY_FULL, PSI_MEM_FULL);
	psi_time(group, running, times, IO_SOME, PSI_IO_SOME);
	psi_time(group, running, times, IO_FULL, PSI_IO_FULL);
	psi_time(group, running, times, NONIDLE, PSI_NONIDLE);
	return true;
}

#endif
