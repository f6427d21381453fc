/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * The node at one instant: the counters that the kernel keeps anyway, summed
 * over CPUs. The program is run by BPF_PROG_RUN at every tick and writes one
 * struct that user space reads through a memory mapping. No workload pays.
 */
#include "headers/percpu.h"
#include "headers/psi.h"

/* What of a sample is filled. */
enum part {
	PART_SWITCHES = 1 << 0,
	PART_RUN_DELAY = 1 << 1,
	PART_CPU = 1 << 2,
	PART_EVENTS = 1 << 3,
	PART_PRESSURE = 1 << 4,
};

struct node_sample {
	u64 time;            /* CLOCK_MONOTONIC, ns */
	u64 clock;           /* scheduler clock, ns */
	u64 switches;        /* context switches */
	u64 run_delay;       /* ns */
	u64 busy;            /* ns */
	u64 system;          /* ns */
	u64 faults;
	u64 major_faults;
	u64 direct_reclaims;
	u64 oom_kills;
	u64 pressure[STALLS]; /* ns, accumulated since the first run */
	u64 gaps;            /* times the accumulation was broken */
	u32 cpus;
	u32 parts;           /* enum part */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct node_sample);
} sample SEC(".maps");

/* Stall times at the previous run; one entry a CPU, sized by the loader. */
struct stall_times {
	u32 state[STATES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stall_times);
} previous SEC(".maps");

struct tick {
	struct node_sample sum;
	u64 section; /* CPU 0's */
	u64 weighted[STALLS];
	u64 weight;
	bool broken;
};

/*
 * The per-CPU times are u32 nanoseconds (see psi_since): longer gaps cannot be
 * told. Two seconds is also how often the kernel itself looks.
 */
#define MAX_GAP 2000000000ULL

#define read_item(array, type, name)                                                               \
	({                                                                                         \
		u64 item_ = 0;                                                                     \
		if (bpf_core_enum_value_exists(type, name))                                        \
			read_kernel(&item_, (array) + bpf_core_enum_value(type, name) * 8ULL);     \
		item_;                                                                             \
	})

#define cputime(name) read_item(stat, enum cpu_usage_stat, name)
#define event(name) read_item(state, enum vm_event_item, name)

static long add_cpu(u32 cpu, struct tick *tick)
{
	struct node_sample *sum = &tick->sum;
	u64 section;
	int owner = -1;

	if (!cpu_distance(cpu, &section))
		return 1;
	section += tick->section;
	read_kernel(&owner, section + runqueues + bpf_core_field_offset(struct rq, cpu));
	if (owner != cpu)
		return 0; /* a number without a CPU */

	u64 rq = section + runqueues, value = 0;

	read_kernel(&value, rq + bpf_core_field_offset(struct rq, nr_switches));
	sum->switches += value;
	if (bpf_core_field_exists(struct rq, rq_sched_info)) {
		value = 0;
		read_kernel(&value, rq + bpf_core_field_offset(struct rq, rq_sched_info.run_delay));
		sum->run_delay += value;
	}
	latest_clock(section, &sum->clock);

	if (kernel_cpustat != NOWHERE) {
		u64 stat = section + kernel_cpustat +
			   bpf_core_field_offset(struct kernel_cpustat, cpustat);
		u64 system = cputime(CPUTIME_SYSTEM) + cputime(CPUTIME_SOFTIRQ) +
			     cputime(CPUTIME_IRQ);

		sum->system += system;
		sum->busy += system + cputime(CPUTIME_USER) + cputime(CPUTIME_NICE) +
			     cputime(CPUTIME_STEAL);
	}
	if (vm_event_states != NOWHERE) {
		u64 state = section + vm_event_states +
			    bpf_core_field_offset(struct vm_event_state, event);

		sum->faults += event(PGFAULT);
		sum->major_faults += event(PGMAJFAULT);
		sum->oom_kills += event(OOM_KILL);
		sum->direct_reclaims += event(ALLOCSTALL_DMA) + event(ALLOCSTALL_DMA32) +
					event(ALLOCSTALL_NORMAL) + event(ALLOCSTALL_MOVABLE) +
					event(ALLOCSTALL_DEVICE);
	}
	sum->cpus++;
	return 0;
}

/*
 * add_pressure is collect_percpu_times() of kernel/sched/psi.c with a memory of
 * its own: a CPU's stall counts in proportion to the time it was not idle.
 */
static long add_pressure(u32 cpu, struct tick *tick)
{
	struct stall_times *last = bpf_map_lookup_elem(&previous, &cpu);
	struct psi_times times;
	u32 delta[STATES];
	u64 section, weight;

	if (!last || !cpu_distance(cpu, &section))
		return 1;
	section += tick->section;
	if (!psi_read(section + system_group_pcpu, section, tick->sum.clock, &times))
		return 0;
	for (int i = 0; i < STATES; i++) {
		delta[i] = psi_since(times.now[i], last->state[i]);
		if (delta[i] || tick->broken)
			last->state[i] = times.now[i];
	}
	weight = delta[NONIDLE] >> 10;
	tick->weight += weight;
	for (int i = 0; i < STALLS; i++)
		tick->weighted[i] += delta[i] * weight;
	return 0;
}

SEC("syscall")
int sample_node(void *ctx)
{
	struct tick tick = {};
	struct node_sample *out;
	u32 zero = 0;

	out = bpf_map_lookup_elem(&sample, &zero);
	if (!out)
		return 1;
	tick.section = first_section();
	if (!tick.section)
		return 2;
	bpf_loop(MAX_CPUS, add_cpu, &tick, 0);
	tick.sum.parts |= PART_SWITCHES;
	if (bpf_core_field_exists(struct rq, rq_sched_info))
		tick.sum.parts |= PART_RUN_DELAY;
	if (kernel_cpustat != NOWHERE)
		tick.sum.parts |= PART_CPU;
	if (vm_event_states != NOWHERE)
		tick.sum.parts |= PART_EVENTS;

	tick.sum.time = bpf_ktime_get_ns();
	tick.sum.gaps = out->gaps;
	for (int i = 0; i < STALLS; i++)
		tick.sum.pressure[i] = out->pressure[i];
	if (system_group_pcpu != NOWHERE) {
		tick.sum.parts |= PART_PRESSURE;
		tick.broken = !out->time || tick.sum.time - out->time > MAX_GAP;
		bpf_loop(MAX_CPUS, add_pressure, &tick, 0);
		if (tick.broken)
			tick.sum.gaps++;
		else if (tick.weight)
			for (int i = 0; i < STALLS; i++)
				tick.sum.pressure[i] += tick.weighted[i] / tick.weight;
	}
	*out = tick.sum;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
