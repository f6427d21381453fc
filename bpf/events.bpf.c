/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * Rare events that the kernel does not count where BPF can read it: one small
 * program on a BTF tracepoint each. Nothing here runs on a scheduler or system
 * call path.
 */
#include "headers/kernel.h"
#include <bpf/bpf_endian.h>

/* One cache line a CPU. */
struct event_counts {
	u64 forks;
	u64 execs;
	u64 exits;
	u64 block_operations;
	u64 block_time;  /* ns */
	u64 block_bytes;
	u64 retransmits; /* segments */
	u64 reclaim_time; /* ns */
};

/* One entry a CPU, sized by the loader; user space sums them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct event_counts);
} counts SEC(".maps");

/*
 * When a task began to reclaim. Preallocated, because the moment it is needed
 * is the moment memory is short; full means that the excess is not timed.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u64);
} reclaiming SEC(".maps");

/*
 * TCP connections begun, by a hash of the address they go to. Shared by all
 * CPUs: beside the cost of a connection, that of the shared line is small.
 */
#define DESTINATIONS 256

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DESTINATIONS);
	__type(key, u32);
	__type(value, u64);
} destinations SEC(".maps");

/* Set by the loader, so that nobody can know which addresses collide. */
const volatile u32 seed = 1;

static __always_inline struct event_counts *this_cpu(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&counts, &cpu);
}

/* Atomic, because an interrupt or (7.0) preemption may come between. */
#define add(field, n)                                                                              \
	({                                                                                         \
		struct event_counts *c_ = this_cpu();                                              \
		if (c_)                                                                            \
			__sync_fetch_and_add(&c_->field, (n));                                     \
	})

SEC("tp_btf/sched_process_fork")
int count_fork(void *ctx)
{
	add(forks, 1);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int count_exec(void *ctx)
{
	add(execs, 1);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int count_exit(void *ctx)
{
	add(exits, 1);
	return 0;
}

/* block_rq_complete(struct request *, blk_status_t, unsigned int nr_bytes) */
SEC("tp_btf/block_rq_complete")
int count_block(u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	u32 bytes = ctx[2];
	u64 start = 0, now;

	add(block_bytes, bytes);
	if (bytes < rq->__data_len)
		return 0; /* completed in parts: the operation is not over */
	add(block_operations, 1);
	if (bpf_core_field_exists(rq->io_start_time_ns))
		start = rq->io_start_time_ns;
	if (!start)
		return 0; /* the queue keeps no statistics */
	now = bpf_ktime_get_ns();
	if (now > start)
		add(block_time, now - start);
	return 0;
}

/* tcp_retransmit_skb(const struct sock *, const struct sk_buff *, ...) */
SEC("tp_btf/tcp_retransmit_skb")
int count_retransmit(u64 *ctx)
{
	const char *skb = (const char *)ctx[1];
	unsigned short segments = 0;

	if (bpf_core_field_exists(struct tcp_skb_cb, tcp_gso_segs))
		bpf_probe_read_kernel(&segments, sizeof(segments),
				      skb + bpf_core_field_offset(struct sk_buff, cb) +
					      bpf_core_field_offset(struct tcp_skb_cb, tcp_gso_segs));
	add(retransmits, segments ? segments : 1);
	return 0;
}

/*
 * A SYN-ACK sent again, by a listener whose peer does not answer, is a segment
 * sent again for the kernel, too, but has no socket yet and another tracepoint.
 */
SEC("tp_btf/tcp_retransmit_synack")
int count_synack(void *ctx)
{
	add(retransmits, 1);
	return 0;
}

#define AF_INET6 10
#define IPPROTO_TCP 6
#define TCP_SYN_SENT 2

/* The finaliser of MurmurHash3 (Appleby): every bit of h moves half the others. */
static __always_inline u32 mix(u32 h)
{
	h ^= h >> 16;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	h ^= h >> 16;
	return h;
}

/* destination is a hash of the address that a socket connects to. */
static __always_inline u32 destination(struct sock *sk)
{
	u32 address[4] = {};
	u32 h = seed;

	if (sk->__sk_common.skc_family != AF_INET6)
		return mix(h ^ sk->__sk_common.skc_daddr);
	if (bpf_core_field_exists(struct sock, __sk_common.skc_v6_daddr))
		bpf_probe_read_kernel(address, sizeof(address),
				      (const char *)sk +
					      bpf_core_field_offset(struct sock, __sk_common.skc_v6_daddr));
	if (!address[0] && !address[1] && address[2] == bpf_htonl(0xffff))
		return mix(h ^ address[3]); /* an IPv4 address in IPv6 clothes */
	for (int i = 0; i < 4; i++)
		h = mix(h ^ address[i]);
	return h;
}

/* inet_sock_set_state(const struct sock *, const int oldstate, const int newstate) */
SEC("tp_btf/inet_sock_set_state")
int count_connect(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	u64 *count;
	u32 bucket;

	if ((u32)ctx[2] != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0; /* Multipath TCP counts by its subflows */
	bucket = destination(sk) % DESTINATIONS;
	count = bpf_map_lookup_elem(&destinations, &bucket);
	if (count)
		__sync_fetch_and_add(count, 1);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int begin_reclaim(void *ctx)
{
	u32 task = bpf_get_current_pid_tgid();
	u64 now = bpf_ktime_get_ns();

	bpf_map_update_elem(&reclaiming, &task, &now, 0);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int end_reclaim(void *ctx)
{
	u32 task = bpf_get_current_pid_tgid();
	u64 *begun = bpf_map_lookup_elem(&reclaiming, &task);
	u64 now = bpf_ktime_get_ns();

	if (!begun)
		return 0;
	if (now > *begun)
		add(reclaim_time, now - *begun);
	bpf_map_delete_elem(&reclaiming, &task);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
