/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * Bytes, packets and connections by cgroup. The programs on packets run for every
 * packet of every socket below the cgroup that they are attached to; they look at
 * no packet and always let it pass. Attached when asked for only.
 */
#include "headers/traffic.h"

#define BPF_NOEXIST 1

/* The context of a cgroup_skb program (include/uapi/linux/bpf.h), up to what is read. */
struct __sk_buff {
	u32 len;      /* from the IP header on */
	u32 unread[40];
	u32 gso_segs; /* packets in a bunch of several, else 0 or 1 */
};

_Static_assert(__builtin_offsetof(struct __sk_buff, gso_segs) == 164, "as in the kernel's ABI");

/* Packets and connections that found no room in traffic. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} uncounted SEC(".maps");

/* counts_of returns this CPU's counts of a cgroup, 0 where there is no room. */
static __always_inline struct traffic_counts *counts_of(u64 id)
{
	struct traffic_counts *c = bpf_map_lookup_elem(&traffic, &id), none = {};
	u32 zero = 0;
	u64 *excess;

	if (c)
		return c;
	/* Another CPU may be first: its entry is as good. */
	bpf_map_update_elem(&traffic, &id, &none, BPF_NOEXIST);
	c = bpf_map_lookup_elem(&traffic, &id);
	if (c)
		return c;
	excess = bpf_map_lookup_elem(&uncounted, &zero);
	if (excess)
		__sync_fetch_and_add(excess, 1);
	return 0;
}

/*
 * count_packet counts for the cgroup that the packet's socket was created in.
 * Atomic: an interrupt that sends for the same cgroup may come between. Both
 * helpers are there since 5.3.
 */
static __always_inline int count_packet(struct __sk_buff *skb, enum traffic bytes, enum traffic packets)
{
	struct traffic_counts *c = counts_of(bpf_skb_cgroup_id(skb));
	u32 segments = skb->gso_segs;

	if (c) {
		__sync_fetch_and_add(&c->count[bytes], skb->len);
		__sync_fetch_and_add(&c->count[packets], segments ? segments : 1);
	}
	return 1; /* pass */
}

SEC("cgroup_skb/ingress")
int count_received(struct __sk_buff *skb)
{
	return count_packet(skb, RECEIVED_BYTES, RECEIVED_PACKETS);
}

SEC("cgroup_skb/egress")
int count_sent(struct __sk_buff *skb)
{
	return count_packet(skb, SENT_BYTES, SENT_PACKETS);
}

#define IPPROTO_TCP 6
#define TCP_SYN_SENT 2

/* The cgroup that is swept from; set by the loader. */
const volatile u64 root = 1;

#define MAX_LEVELS 64

/*
 * below_root says whether a cgroup is the root or below it: unlike the programs on
 * packets, which are attached there, this one sees every socket of the machine.
 */
static __always_inline bool below_root(struct cgroup *cgrp)
{
	if (root == 1)
		return true; /* the hierarchy's own */
	for (int i = 0; i < MAX_LEVELS && i <= cgrp->level; i++) {
		u64 ancestor = 0, kn = 0, id = 0;

		bpf_probe_read_kernel(&ancestor, sizeof(ancestor),
				      (const char *)cgrp +
					      bpf_core_field_offset(struct cgroup, ancestors) + i * 8);
		bpf_probe_read_kernel(&kn, sizeof(kn),
				      (const char *)ancestor + bpf_core_field_offset(struct cgroup, kn));
		bpf_probe_read_kernel(&id, sizeof(id),
				      (const char *)kn + bpf_core_field_offset(struct kernfs_node, id));
		if (id == root)
			return true;
	}
	return false;
}

/* inet_sock_set_state(const struct sock *, const int oldstate, const int newstate) */
SEC("tp_btf/inet_sock_set_state")
int count_open(u64 *ctx)
{
	struct sock *sk = (void *)ctx[0];
	struct traffic_counts *c;
	struct cgroup *cgrp;

	if ((u32)ctx[2] != TCP_SYN_SENT || sk->sk_protocol != IPPROTO_TCP)
		return 0; /* Multipath TCP counts by its subflows */
	cgrp = sk->sk_cgrp_data.cgroup;
	if (!cgrp || !below_root(cgrp))
		return 0;
	c = counts_of(cgrp->kn->id);
	if (c)
		__sync_fetch_and_add(&c->count[OPENS], 1);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
