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
	PART_TASKS = 1 << 5,
	PART_SWAP = 1 << 6,
	PART_COMPACTION = 1 << 7,
};

/* What comes before pressure is summed up afresh at every run. */
struct node_sample {
	u64 clock;           /* scheduler clock, ns */
	u64 switches;        /* context switches */
	u64 run_delay;       /* ns */
	u64 busy;            /* ns */
	u64 system;          /* ns */
	u64 softirq;         /* ns, a part of system, as is irq */
	u64 irq;             /* ns */
	u64 faults;
	u64 major_faults;
	u64 direct_reclaims;
	u64 oom_kills;
	u64 swap_in;         /* pages */
	u64 swap_out;        /* pages */
	u64 compaction_stalls;
	u64 runnable;        /* tasks */
	s64 blocked;         /* tasks that wait for I/O */
	s64 uninterruptible; /* tasks in state D */
	u32 cpus;
	u32 parts;           /* enum part */

	u64 pressure[STALLS]; /* ns, accumulated since the first run */
	u64 gaps;            /* times the accumulation was broken */
	u64 time;            /* CLOCK_MONOTONIC, ns */
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

/*
 * What is gathered over the CPUs; in a map for the sake of the verifier (see
 * struct walk in cgroup.bpf.c).
 */
struct tick {
	u64 section; /* CPU 0's */
	u64 clock;   /* the latest of any CPU's */
	u64 weighted[STALLS];
	u64 weight;
	u64 broken;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tick);
} ticks SEC(".maps");

static __always_inline struct tick *the_tick(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&ticks, &zero);
}

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
#define has_event(name) bpf_core_enum_value_exists(enum vm_event_item, name)
#define in_rq(field) (rq + bpf_core_field_offset(struct rq, field))

static __always_inline struct node_sample *the_sample(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&sample, &zero);
}

static __always_inline bool has_tasks(void)
{
	return bpf_core_field_exists(struct rq, nr_running) &&
	       bpf_core_field_exists(struct rq, nr_iowait) &&
	       bpf_core_field_exists(struct rq, nr_uninterruptible);
}

static __always_inline bool narrow_uninterruptible(void)
{
	return bpf_core_field_size(struct rq, nr_uninterruptible) == sizeof(u32);
}

/*
 * Tasks are counted where they went to sleep and where they woke up, which may
 * be two CPUs: only the sum over CPUs means anything.
 */
static __always_inline void add_tasks(u64 rq, struct node_sample *sum)
{
	u32 runnable = 0, narrow = 0;
	u64 wide = 0;
	int blocked = 0;

	read_kernel(&runnable, in_rq(nr_running));
	read_kernel(&blocked, in_rq(nr_iowait));
	if (narrow_uninterruptible())
		read_kernel(&narrow, in_rq(nr_uninterruptible));
	else
		read_kernel(&wide, in_rq(nr_uninterruptible));
	sum->runnable += runnable;
	sum->blocked += blocked;
	sum->uninterruptible += narrow + wide;
}

static __always_inline void add_cpu_time(u64 section, struct node_sample *sum)
{
	u64 stat = section + kernel_cpustat + bpf_core_field_offset(struct kernel_cpustat, cpustat);
	u64 softirq = cputime(CPUTIME_SOFTIRQ), irq = cputime(CPUTIME_IRQ);
	u64 system = cputime(CPUTIME_SYSTEM) + softirq + irq;

	sum->softirq += softirq;
	sum->irq += irq;
	sum->system += system;
	sum->busy += system + cputime(CPUTIME_USER) + cputime(CPUTIME_NICE) + cputime(CPUTIME_STEAL);
}

static __always_inline void add_memory_events(u64 section, struct node_sample *sum)
{
	u64 state = section + vm_event_states + bpf_core_field_offset(struct vm_event_state, event);

	sum->faults += event(PGFAULT);
	sum->major_faults += event(PGMAJFAULT);
	sum->oom_kills += event(OOM_KILL);
	sum->direct_reclaims += event(ALLOCSTALL_DMA) + event(ALLOCSTALL_DMA32) +
				event(ALLOCSTALL_NORMAL) + event(ALLOCSTALL_MOVABLE) +
				event(ALLOCSTALL_DEVICE);
	sum->swap_in += event(PSWPIN);
	sum->swap_out += event(PSWPOUT);
	sum->compaction_stalls += event(COMPACTSTALL);
}

static long add_cpu(u32 cpu, void *unused)
{
	struct node_sample *sum = the_sample();
	struct tick *tick = the_tick();
	u64 section, rq, value = 0;
	int owner = -1;

	if (!sum || !tick || !cpu_distance(cpu, &section))
		return 1;
	section += tick->section;
	rq = section + runqueues;
	read_kernel(&owner, in_rq(cpu));
	if (owner != cpu)
		return 0; /* a number without a CPU */

	read_kernel(&value, in_rq(nr_switches));
	sum->switches += value;
	if (bpf_core_field_exists(struct rq, rq_sched_info)) {
		value = 0;
		read_kernel(&value, in_rq(rq_sched_info.run_delay));
		sum->run_delay += value;
	}
	if (has_tasks())
		add_tasks(rq, sum);
	latest_clock(section, &tick->clock);
	if (kernel_cpustat != NOWHERE)
		add_cpu_time(section, sum);
	if (vm_event_states != NOWHERE)
		add_memory_events(section, sum);
	sum->cpus++;
	return 0;
}

/*
 * add_pressure is collect_percpu_times() of kernel/sched/psi.c with a memory of
 * its own: a CPU's stall counts in proportion to the time it was not idle.
 */
static long add_pressure(u32 cpu, void *unused)
{
	struct stall_times *last = bpf_map_lookup_elem(&previous, &cpu);
	struct tick *tick = the_tick();
	struct psi_times times;
	u32 delta[STATES];
	u64 section, weight;

	if (!last || !tick || !cpu_distance(cpu, &section))
		return 1;
	section += tick->section;
	if (!psi_read(section + system_group_pcpu, section, tick->clock, &times))
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

/* parts says what this kernel has. */
static __always_inline u32 parts(void)
{
	u32 parts = PART_SWITCHES;

	if (bpf_core_field_exists(struct rq, rq_sched_info))
		parts |= PART_RUN_DELAY;
	if (has_tasks())
		parts |= PART_TASKS;
	if (kernel_cpustat != NOWHERE)
		parts |= PART_CPU;
	if (vm_event_states != NOWHERE) {
		parts |= PART_EVENTS;
		if (has_event(PSWPIN) && has_event(PSWPOUT))
			parts |= PART_SWAP;
		if (has_event(COMPACTSTALL))
			parts |= PART_COMPACTION;
	}
	if (system_group_pcpu != NOWHERE)
		parts |= PART_PRESSURE;
	return parts;
}

SEC("syscall")
int sample_node(void *ctx)
{
	struct tick *tick = the_tick();
	struct node_sample *out = the_sample();
	u64 now;

	if (!out || !tick)
		return 1;
	__builtin_memset(tick, 0, sizeof(*tick));
	tick->section = first_section();
	if (!tick->section)
		return 2;
	__builtin_memset(out, 0, __builtin_offsetof(struct node_sample, pressure));
	bpf_loop(MAX_CPUS, add_cpu, 0, 0);
	if (has_tasks() && narrow_uninterruptible())
		out->uninterruptible = (int)out->uninterruptible;
	out->clock = tick->clock;
	out->parts = parts();

	now = bpf_ktime_get_ns();
	if (system_group_pcpu != NOWHERE) {
		tick->broken = !out->time || now - out->time > MAX_GAP;
		bpf_loop(MAX_CPUS, add_pressure, 0, 0);
		if (tick->broken)
			out->gaps++;
		else if (tick->weight)
			for (int i = 0; i < STALLS; i++)
				out->pressure[i] += tick->weighted[i] / tick->weight;
	}
	out->time = now;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
