/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/*
 * The kernel's per-CPU variables without its symbol table. Typed per-CPU
 * symbols (bpf_per_cpu_ptr) need CONFIG_KALLSYMS_ALL, which not every kernel
 * has, and per-CPU addresses found inside structs need type tags, which kernels
 * built by gcc do not have. Three things are in every kernel with BTF:
 *
 *   - the offset of every static per-CPU variable in the per-CPU section: the
 *     loader takes it from BTF and sets it below;
 *   - the address of one such variable: the run queue of the CPU that runs the
 *     program, by way of the current task;
 *   - the distance between two CPUs' copies: that of the elements of a per-CPU
 *     array of our own.
 *
 * Everything is read so that a wrong address does no harm, the run queue's own
 * CPU number is compared, and the loader compares the sums with /proc once.
 */
#ifndef REFLEX_PERCPU_H
#define REFLEX_PERCPU_H

#include "kernel.h"

/* The offset of a variable that the kernel does not have. */
#define NOWHERE (~0U)

const volatile u32 runqueues = NOWHERE;
const volatile u32 kernel_cpustat = NOWHERE;
const volatile u32 vm_event_states = NOWHERE;
const volatile u32 system_group_pcpu = NOWHERE;
const volatile u32 psi_seq = NOWHERE;

/* Its elements lie as far apart as everything else that is per CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} slots SEC(".maps");

/* Not in every kernel (6.2). The verifier turns the call into nothing. */
extern const void *bpf_rdonly_cast(const void *address, u32 type) __ksym __weak;

/* A struct of the kernel that begins with a plain number. */
struct timespec64 {
	s64 tv_sec;
};

/*
 * read_kernel reads the number at address. Seen as a part of some struct, a load
 * does it, and reads 0 where nothing is mapped; by the helper, which tells that
 * from 0, a sweep takes half as long again.
 */
#define read_kernel(into, address)                                                                 \
	({                                                                                         \
		long error_ = 0;                                                                   \
		if (bpf_rdonly_cast)                                                               \
			*(into) = *(const volatile typeof(*(into)) *)bpf_rdonly_cast(              \
				(const void *)(address),                                           \
				bpf_core_type_id_kernel(struct timespec64));                       \
		else                                                                               \
			error_ = bpf_probe_read_kernel((into), sizeof(*(into)),                    \
						       (const void *)(address));                   \
		error_;                                                                            \
	})

/*
 * distance from CPU 0's copy of anything to cpu's. False beyond the last CPU.
 * The verifier allows no arithmetic between pointers but subtraction.
 */
static __always_inline bool cpu_distance(u32 cpu, u64 *distance)
{
	u32 zero = 0;
	void *first = bpf_map_lookup_percpu_elem(&slots, &zero, 0);
	void *there = bpf_map_lookup_percpu_elem(&slots, &zero, cpu);

	if (!first || !there)
		return false;
	u64 bytes = (u64)there - (u64)first;

	barrier_var(bytes); /* and keep the compiler from rearranging it */
	*distance = bytes;
	return true;
}

/* first_section is the address of CPU 0's copy of the per-CPU section, or 0. */
static __always_inline u64 first_section(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	u32 here = bpf_get_smp_processor_id();
	u64 cfs_rq = 0, rq = 0, distance;
	int cpu = -1;

	if (runqueues == NOWHERE || !bpf_core_field_exists(struct sched_entity, cfs_rq) ||
	    !bpf_core_field_exists(struct cfs_rq, rq))
		return 0;
	read_kernel(&cfs_rq, &task->se.cfs_rq);
	read_kernel(&rq, cfs_rq + bpf_core_field_offset(struct cfs_rq, rq));
	read_kernel(&cpu, rq + bpf_core_field_offset(struct rq, cpu));
	if (cpu != here || !cpu_distance(here, &distance))
		return 0;
	return rq - runqueues - distance;
}

/* latest_clock raises clock to the scheduler clock of the CPU at section. */
static __always_inline void latest_clock(u64 section, u64 *clock)
{
	u64 now = 0;

	read_kernel(&now, section + runqueues + bpf_core_field_offset(struct rq, clock));
	if (now > *clock)
		*clock = now;
}

#endif
