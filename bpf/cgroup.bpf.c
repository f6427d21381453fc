/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * One sweep over a cgroup and everything below it (iter/cgroup, 6.1). A row per
 * cgroup goes into an array that user space reads through a memory mapping;
 * nothing is written to the iterator's own stream, so one read(2) is one sweep.
 */
#include "headers/percpu.h"
#include "headers/psi.h"
#include "headers/traffic.h"

struct cgroup_row {
	u64 id;
	u64 parent;             /* 0 for the hierarchy's root */
	u64 memory_usage;       /* pages, or ABSENT */
	u64 memory_high;        /* pages, or ABSENT */
	u64 memory_max;         /* pages, or ABSENT */
	u64 swap_usage;         /* pages, or ABSENT */
	u64 periods;            /* of the CPU quota, or ABSENT */
	u64 throttled_periods;  /* or ABSENT */
	u64 throttled_time;     /* ns, or ABSENT */
	u64 pids;               /* tasks, or ABSENT */
	u64 pids_max;           /* tasks, or ABSENT */
	u64 cpu;                /* ns as last flushed, descendants included */
	u64 cpu_pending;        /* ns of its own tasks not yet in cpu */
	u64 cpu_unpropagated;   /* ns in cpu, not yet in the parent's */
	u64 pressure[STALLS];   /* ns, or ABSENT */
	u64 traffic[TRAFFIC];   /* of its own sockets, or ABSENT */
};

struct sweep_head {
	u32 rows;
	u32 truncated; /* cgroups beyond the last row */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cgroup_row);
} rows SEC(".maps");

/* Whether somebody counts traffic; set by the loader. */
const volatile bool count_traffic = false;

/* User space zeroes it before a sweep. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct sweep_head);
} head SEC(".maps");

/* Where things are, found at the first row of every sweep. Not for user space. */
struct anchors {
	u64 map;     /* of slots */
	u64 slot;    /* CPU 0's */
	u64 offset;  /* from any per-CPU address to CPU 0's copy, 0 for unknown */
	u64 section; /* CPU 0's, 0 for unknown */
	u64 clock;   /* the latest of any CPU's scheduler, ns */
	u64 traffic; /* CPU 0's counts of the cgroup at hand, 0 for none */
	u32 cpus;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct anchors);
} anchor SEC(".maps");

/* From CPU 0's copy of anything to each CPU's; sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} distances SEC(".maps");

/*
 * find_anchors learns the offset that turns a per-CPU address into CPU 0's from
 * the one per-CPU address of which both forms can be known: that of slots. The
 * detour through memory makes numbers of pointers.
 */
static __always_inline void find_anchors(struct anchors *a)
{
	u32 zero = 0;
	void *first = bpf_map_lookup_percpu_elem(&slots, &zero, 0);
	u64 template = 0;

	a->offset = 0;
	a->section = first_section();
	if (!first)
		return;
	a->map = (u64)&slots;
	a->slot = (u64)first;
	barrier();
	read_kernel(&template, a->map + bpf_core_field_offset(struct bpf_array, pptrs));
	if (template)
		a->offset = a->slot - template;
}

/*
 * What is gathered of a cgroup over its CPUs. In a map, and not on the stack, as
 * is all that loops over CPUs count: numbers in maps mean nothing to the verifier,
 * while a sum on the stack is another state with every CPU. That of 7.3 would look
 * at all of them.
 */
struct walk {
	u64 rstat; /* per-CPU address of the base statistics, 0 for none */
	u64 psi;   /* per-CPU address of the stall times, 0 for none */
	u64 cpu_pending;
	u64 root_cpu;
	u64 weighted[STALLS];
	u64 weight;
	u64 root; /* not 0 for the hierarchy's root */
	struct traffic_counts traffic;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct walk);
} walks SEC(".maps");

static __always_inline struct walk *the_walk(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&walks, &zero);
}

static __always_inline struct anchors *the_anchors(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&anchor, &zero);
}

/* The same struct under two names; type is the one the kernel has. */
#define rstat_pending(type, address)                                                               \
	({                                                                                         \
		u64 now_ = 0, last_ = 0;                                                           \
		read_kernel(&now_, (address) + bpf_core_field_offset(                              \
						       type, bstat.cputime.sum_exec_runtime));     \
		read_kernel(&last_, (address) + bpf_core_field_offset(                             \
							type, last_bstat.cputime.sum_exec_runtime)); \
		(s64)(now_ - last_) > 0 ? now_ - last_ : 0;                                        \
	})

#define cputime(name)                                                                              \
	({                                                                                         \
		u64 time_ = 0;                                                                     \
		read_kernel(&time_, stat + bpf_core_enum_value(enum cpu_usage_stat, name) * 8ULL); \
		time_;                                                                             \
	})

/* first_look measures distances and the clock. */
static long first_look(u32 cpu, void *unused)
{
	u64 *known = bpf_map_lookup_elem(&distances, &cpu), distance;
	struct anchors *a = the_anchors();

	if (!known || !a || !cpu_distance(cpu, &distance))
		return 1;
	*known = distance;
	if (a->section)
		latest_clock(a->section + distance, &a->clock);
	a->cpus++;
	return 0;
}

static long add_cpu(u32 cpu, void *unused)
{
	u64 *known = bpf_map_lookup_elem(&distances, &cpu);
	struct anchors *a = the_anchors();
	struct walk *walk = the_walk();
	u64 distance;

	if (!known || !a || !walk)
		return 1;
	distance = *known;

	if (walk->root) {
		/* The root's time is the system's (root_cgroup_cputime()). */
		if (kernel_cpustat != NOWHERE && a->section) {
			u64 stat = a->section + distance + kernel_cpustat +
				   bpf_core_field_offset(struct kernel_cpustat, cpustat);

			walk->root_cpu += cputime(CPUTIME_USER) + cputime(CPUTIME_NICE) +
					  cputime(CPUTIME_SYSTEM) + cputime(CPUTIME_SOFTIRQ) +
					  cputime(CPUTIME_IRQ) + cputime(CPUTIME_STEAL);
		}
	} else if (walk->rstat) {
		u64 address = walk->rstat + a->offset + distance;

		if (bpf_core_field_exists(struct cgroup, rstat_base_cpu))
			walk->cpu_pending += rstat_pending(struct cgroup_rstat_base_cpu, address);
		else
			walk->cpu_pending += rstat_pending(struct cgroup_rstat_cpu, address);
	}

	if (walk->psi) {
		u64 address = walk->psi + a->offset + distance;
		struct psi_times times;
		u64 weight;

		if (psi_idle(address) ||
		    !psi_read(address, a->section ? a->section + distance : 0, a->clock,
			      &times))
			return 0;
		/*
		 * Up to 2^32 ns have gathered since the kernel's last flush; a
		 * weight in units of 8 us keeps 4096 CPUs below 2^64.
		 */
		weight = psi_since(times.now[NONIDLE], times.flushed[NONIDLE]) >> 13;
		walk->weight += weight;
		for (int i = 0; i < STALLS; i++)
			walk->weighted[i] += psi_since(times.now[i], times.flushed[i]) * weight;
	}
	return 0;
}

static long add_traffic(u32 cpu, void *unused)
{
	u64 *distance = bpf_map_lookup_elem(&distances, &cpu);
	struct anchors *a = the_anchors();
	struct walk *walk = the_walk();

	if (!distance || !a || !walk)
		return 1;
	for (int i = 0; i < TRAFFIC; i++) {
		u64 count = 0;

		read_kernel(&count, a->traffic + *distance + i * sizeof(count));
		walk->traffic.count[i] += count;
	}
	return 0;
}

/* read_traffic fills what the cgroup's sockets did. */
static __noinline int read_traffic(struct anchors *a, struct walk *walk, struct cgroup_row *row)
{
	a->traffic = (u64)bpf_map_lookup_percpu_elem(&traffic, &row->id, 0);
	barrier(); /* the detour makes a number of the pointer */
	if (!a->traffic)
		return 0;
	bpf_loop(a->cpus, add_traffic, 0, 0);
	for (int i = 0; i < TRAFFIC; i++)
		row->traffic[i] = walk->traffic.count[i];
	return 0;
}

/*
 * controller is the state of a controller at cgrp, of the given type, as a
 * number; 0 where it is not enabled or not in this kernel.
 */
#define controller(cgrp, type, id)                                                                 \
	({                                                                                         \
		u64 css_ = 0;                                                                      \
		if (bpf_core_enum_value_exists(enum cgroup_subsys_id, id) &&                       \
		    bpf_core_type_exists(type))                                                    \
			css_ = *(const u64 *)((const void *)(cgrp) +                               \
					      bpf_core_field_offset(struct cgroup, subsys) +       \
					      bpf_core_enum_value(enum cgroup_subsys_id, id) *     \
						      8ULL);                                       \
		css_ ? css_ - bpf_core_field_offset(type, css) : 0;                                \
	})

/* read_field reads a number of the struct of the given type at address. */
#define read_field(into, type, field, address)                                                     \
	read_kernel((into), (address) + bpf_core_field_offset(type, field))

static __always_inline void read_memory(struct cgroup *cgrp, struct cgroup_row *row)
{
	u64 memory = controller(cgrp, struct mem_cgroup, memory_cgrp_id), counter;

	if (!memory)
		return;
	counter = memory + bpf_core_field_offset(struct mem_cgroup, memory);
	read_field(&row->memory_usage, struct page_counter, usage, counter);
	read_field(&row->memory_high, struct page_counter, high, counter);
	read_field(&row->memory_max, struct page_counter, max, counter);
	if (!bpf_core_field_exists(struct mem_cgroup, swap))
		return;
	counter = memory + bpf_core_field_offset(struct mem_cgroup, swap);
	read_field(&row->swap_usage, struct page_counter, usage, counter);
}

/* read_throttling reads what cpu.stat prints of the cgroup's quota. */
static __always_inline void read_throttling(struct cgroup *cgrp, struct cgroup_row *row)
{
	u64 group = controller(cgrp, struct task_group, cpu_cgrp_id), time = 0;
	u32 periods = 0, throttled = 0;

	if (!group || !bpf_core_field_exists(struct task_group, cfs_bandwidth) ||
	    read_field(&periods, struct task_group, cfs_bandwidth.nr_periods, group) ||
	    read_field(&throttled, struct task_group, cfs_bandwidth.nr_throttled, group) ||
	    read_field(&time, struct task_group, cfs_bandwidth.throttled_time, group))
		return;
	row->periods = periods;
	row->throttled_periods = throttled;
	row->throttled_time = time;
}

/* read_pids reads pids.current and pids.max. */
static __always_inline void read_pids(struct cgroup *cgrp, struct cgroup_row *row)
{
	u64 pids = controller(cgrp, struct pids_cgroup, pids_cgrp_id);

	if (!pids)
		return;
	read_field(&row->pids, struct pids_cgroup, counter, pids);
	read_field(&row->pids_max, struct pids_cgroup, limit, pids);
}

/*
 * read_controllers fills what controllers count. The root has none of it: what
 * they count there is the node.
 */
static __always_inline void read_controllers(struct cgroup *cgrp, bool root, struct cgroup_row *row)
{
	row->memory_usage = row->memory_high = row->memory_max = row->swap_usage = ABSENT;
	row->periods = row->throttled_periods = row->throttled_time = ABSENT;
	row->pids = row->pids_max = ABSENT;
	if (root)
		return;
	read_memory(cgrp, row);
	read_throttling(cgrp, row);
	read_pids(cgrp, row);
}

#define psi_total(group, name)                                                                     \
	(*(const u64 *)((const void *)(group) + bpf_core_field_offset(struct psi_group, total) +   \
			bpf_core_enum_value(enum psi_states, name) * 8ULL))

/*
 * populated is cgroup_is_populated(): somebody lives here or below. Of a kernel
 * that does not tell it is true: to look in vain costs time only.
 */
static __always_inline bool populated(const struct cgroup *cgrp)
{
	const struct cgroup___populated *before = (const void *)cgrp;

	if (bpf_core_field_exists(cgrp->self.nr_populated_csets) &&
	    bpf_core_field_exists(cgrp->self.nr_populated_children))
		return cgrp->self.nr_populated_csets + cgrp->self.nr_populated_children > 0;
	if (bpf_core_field_exists(before->nr_populated_csets) &&
	    bpf_core_field_exists(before->nr_populated_domain_children) &&
	    bpf_core_field_exists(before->nr_populated_threaded_children))
		return before->nr_populated_csets + before->nr_populated_domain_children +
			       before->nr_populated_threaded_children >
		       0;
	return true;
}

SEC("iter/cgroup")
int sweep_cgroup(struct bpf_iter__cgroup *ctx)
{
	struct cgroup *cgrp = ctx->cgroup, *parent = 0;
	struct cgroup_subsys_state *parent_css;
	struct walk *walk;
	struct sweep_head *h;
	struct anchors *a;
	struct cgroup_row *row;
	struct psi_group *psi;
	u32 zero = 0, index;

	h = bpf_map_lookup_elem(&head, &zero);
	a = the_anchors();
	walk = the_walk();
	if (!cgrp || !h || !a || !walk)
		return 0;
	index = h->rows;
	row = bpf_map_lookup_elem(&rows, &index);
	if (!row) {
		h->truncated++;
		return 0;
	}
	if (!index) {
		find_anchors(a);
		a->clock = a->cpus = 0;
		bpf_loop(MAX_CPUS, first_look, 0, 0);
	}
	__builtin_memset(walk, 0, sizeof(*walk));

	row->id = cgrp->kn->id;
	parent_css = cgrp->self.parent;
	if (parent_css)
		parent = parent_css->cgroup;
	walk->root = !parent_css;
	row->parent = parent ? parent->kn->id : 0;

	read_controllers(cgrp, walk->root, row);

	/*
	 * Totals before what is pending: a flush in between can then only hide
	 * time until the next sweep, and never count it twice.
	 */
	for (int i = 0; i < STALLS; i++)
		row->pressure[i] = ABSENT;
	if (bpf_core_field_exists(cgrp->psi)) {
		psi = cgrp->psi;
		if (psi && psi->enabled) {
			row->pressure[CPU_SOME] = psi_total(psi, PSI_CPU_SOME);
			row->pressure[MEMORY_SOME] = psi_total(psi, PSI_MEM_SOME);
			row->pressure[MEMORY_FULL] = psi_total(psi, PSI_MEM_FULL);
			row->pressure[IO_SOME] = psi_total(psi, PSI_IO_SOME);
			row->pressure[IO_FULL] = psi_total(psi, PSI_IO_FULL);
			/* Where nobody lives nothing moves: the last sweep's stands. */
			if (populated(cgrp))
				read_kernel(&walk->psi, &psi->pcpu);
		}
	}
	row->cpu = cgrp->bstat.cputime.sum_exec_runtime;
	row->cpu_unpropagated = row->cpu - cgrp->last_bstat.cputime.sum_exec_runtime;
	if ((s64)row->cpu_unpropagated < 0)
		row->cpu_unpropagated = 0; /* added up between the two reads */
	/* Read as numbers: the verifier allows no sums of a typed pointer. */
	if (bpf_core_field_exists(cgrp->rstat_base_cpu))
		read_kernel(&walk->rstat, &cgrp->rstat_base_cpu);
	else
		read_kernel(&walk->rstat, &((struct cgroup___rstat *)cgrp)->rstat_cpu);

	if (!a->offset)
		walk->rstat = walk->psi = 0;
	bpf_loop(a->cpus, add_cpu, 0, 0);

	row->cpu_pending = walk->cpu_pending;
	if (walk->root) {
		row->cpu = walk->root_cpu ? walk->root_cpu : ABSENT;
		row->cpu_unpropagated = 0;
	}
	if (walk->weight)
		for (int i = 0; i < STALLS; i++)
			if (row->pressure[i] != ABSENT)
				row->pressure[i] += walk->weighted[i] / walk->weight;
	for (int i = 0; i < TRAFFIC; i++)
		row->traffic[i] = ABSENT;
	if (count_traffic)
		read_traffic(a, walk, row);
	h->rows = index + 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
