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
struct psi_copy {
	char bytes[128];
};

/* For kernels without a cheap load, and not for user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct psi_copy);
} scratch SEC(".maps");

#define PSI_ATTEMPTS 4

struct psi_times {
	u64 start;           /* of the running states */
	u32 mask;            /* of the running states */
	u32 now[STATES];     /* ns modulo 2^32 */
	u32 flushed[STATES]; /* what of it is in psi_group.total already */
};

#define psi_bit(name) (1U << bpf_core_enum_value(enum psi_states, name))

#define psi_offset(array, name)                                                                    \
	(bpf_core_field_offset(struct psi_group_cpu, array) +                                      \
	 bpf_core_enum_value(enum psi_states, name) * 4ULL)

/* psi_numbers reads each number with read, a macro of destination and offset. */
#define psi_numbers(times, read)                                                                    \
	({                                                                                         \
		read(&(times)->start, bpf_core_field_offset(struct psi_group_cpu, state_start));     \
		read(&(times)->mask, bpf_core_field_offset(struct psi_group_cpu, state_mask));       \
		read(&(times)->now[CPU_SOME], psi_offset(times, PSI_CPU_SOME));                    \
		read(&(times)->now[MEMORY_SOME], psi_offset(times, PSI_MEM_SOME));                 \
		read(&(times)->now[MEMORY_FULL], psi_offset(times, PSI_MEM_FULL));                 \
		read(&(times)->now[IO_SOME], psi_offset(times, PSI_IO_SOME));                      \
		read(&(times)->now[IO_FULL], psi_offset(times, PSI_IO_FULL));                      \
		read(&(times)->now[NONIDLE], psi_offset(times, PSI_NONIDLE));                      \
		read(&(times)->flushed[CPU_SOME], psi_offset(times_prev, PSI_CPU_SOME));             \
		read(&(times)->flushed[MEMORY_SOME], psi_offset(times_prev, PSI_MEM_SOME));          \
		read(&(times)->flushed[MEMORY_FULL], psi_offset(times_prev, PSI_MEM_FULL));          \
		read(&(times)->flushed[IO_SOME], psi_offset(times_prev, PSI_IO_SOME));               \
		read(&(times)->flushed[IO_FULL], psi_offset(times_prev, PSI_IO_FULL));               \
		read(&(times)->flushed[NONIDLE], psi_offset(times_prev, PSI_NONIDLE));               \
	})

/* psi_load reads the numbers at address, true on failure. */
static __always_inline bool psi_load(u64 address, struct psi_times *times)
{
	const u64 bytes = psi_offset(times_prev, PSI_NONIDLE) + 4;
	struct psi_copy *copy;
	u32 zero = 0;

#define from_there(into, offset) read_kernel((into), address + (offset))
#define from_copy(into, offset) (*(into) = *(typeof(into))(copy->bytes + (offset)))
	if (bpf_rdonly_cast) {
		psi_numbers(times, from_there);
		return false;
	}
	copy = bpf_map_lookup_elem(&scratch, &zero);
	if (!copy || bytes > sizeof(*copy) ||
	    bpf_probe_read_kernel(copy, bytes, (const void *)address))
		return true;
	psi_numbers(times, from_copy);
	return false;
}

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
 * psi_idle says that nothing has happened at address since the kernel's last
 * flush, where that can be had for less than reading everything. The mask comes
 * first, because the kernel adds a time up before it changes the mask.
 */
static __always_inline bool psi_idle(u64 address)
{
	u32 mask = 0, now = 0, flushed = 0;

	if (!bpf_rdonly_cast)
		return false;
	read_kernel(&mask, address + bpf_core_field_offset(struct psi_group_cpu, state_mask));
	barrier();
	read_kernel(&now, address + psi_offset(times, PSI_NONIDLE));
	read_kernel(&flushed, address + psi_offset(times_prev, PSI_NONIDLE));
	return !(mask & psi_bit(PSI_NONIDLE)) && now == flushed;
}

#define psi_run(times, running, state, name)                                                       \
	({                                                                                         \
		if ((times)->mask & psi_bit(name))                                                 \
			(times)->now[state] += running;                                            \
	})

/*
 * psi_read takes a consistent copy of the times at address, of the CPU whose
 * per-CPU section is at section, the running stalls included. False when the
 * kernel was writing at every attempt.
 */
static __always_inline bool psi_read(u64 address, u64 section, u64 clock, struct psi_times *times)
{
	u64 sequence = 0;
	u32 before = 0, after = 0, running = 0;

	if (bpf_core_field_exists(struct psi_group_cpu___seq, seq))
		sequence = address + bpf_core_field_offset(struct psi_group_cpu___seq, seq);
	else if (psi_seq != NOWHERE) {
		if (!section)
			return false;
		sequence = section + psi_seq;
	}

	for (int attempt = 0; attempt < PSI_ATTEMPTS; attempt++) {
		if (sequence && read_kernel(&before, sequence))
			return false;
		barrier();
		if (psi_load(address, times))
			return false;
		if (!sequence)
			goto consistent;
		barrier();
		if (read_kernel(&after, sequence))
			return false;
		if (before == after && !(before & 1))
			goto consistent;
	}
	return false;

consistent:
	if (clock > times->start)
		running = clock - times->start;
	psi_run(times, running, CPU_SOME, PSI_CPU_SOME);
	psi_run(times, running, MEMORY_SOME, PSI_MEM_SOME);
	psi_run(times, running, MEMORY_FULL, PSI_MEM_FULL);
	psi_run(times, running, IO_SOME, PSI_IO_SOME);
	psi_run(times, running, IO_FULL, PSI_IO_FULL);
	psi_run(times, running, NONIDLE, PSI_NONIDLE);
	return true;
}

#endif
