/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * A token bucket for every source that sends to an interface. Sources are kept in
 * a table of fixed size, which spoofed ones would fill: a source that is not in it
 * has to take from a bucket that all newcomers share, and those that are in it
 * take from another one, besides their own. So there is a bound to what passes,
 * whoever sends. What a node must not be without passes before either: nevercut.h.
 * Past its deadline the program lets everything pass.
 */
#include "headers/nevercut.h"

#define ETH_P_ARP 0x0806
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88a8
#define ETH_P_8809 0x8809 /* LACP */
#define ETH_P_EAPOL 0x888e
#define ETH_P_LLDP 0x88cc
#define ETH_P_802_3_MIN 0x0600 /* below, it is a length: spanning tree */

#define XDP_DROP 1
#define XDP_PASS 2

struct xdp_md {
	u32 data;
	u32 data_end;
};

struct ethernet_header {
	__u8 destination[6], source[6];
	__be16 type;
};

struct vlan_header {
	__be16 tag;
	__be16 type;
};

/* What became of packets, in the order of shieldCounts. */
enum shield_count {
	EXPIRED,
	PASSED_LINK,       /* what keeps the link: ARP, neighbour discovery, LLDP … */
	PASSED_NEVER_CUT,  /* by a rule, from where the rule allows */
	PASSED_SESSION,    /* of a TCP session that was there at the start */
	PASSED_KNOWN,      /* within its source's bucket, and that of all of them */
	PASSED_NEW,        /* within the bucket of newcomers */
	DROPPED_SOURCE,    /* over its source's bucket */
	DROPPED_AGGREGATE, /* over that of all sources known */
	DROPPED_NEW,       /* over that of newcomers */
	DROPPED_UNPARSED,  /* no source can be read, and over that of newcomers */
	SHIELD_COUNTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SHIELD_COUNTS);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

struct shield_state {
	/* Of the loader: times in ns, costs in ns a packet. */
	u64 deadline;
	u64 burst;
	u64 source_cost;
	u64 known_cost;
	u64 newcomer_cost;
	u64 reserve_cost;
	u64 unused[2];
	/* Of the program. */
	struct line known;
	struct line newcomers;
	struct line reserves[RESERVES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct shield_state);
} state SEC(".maps");

/* By source: up to when its credit is spent. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u64);
} sources SEC(".maps");

/* TCP sessions of this machine when the shield was put up, by session_key. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u32);
} sessions SEC(".maps");

/* By chance, different for each shield; set by the loader, which folds as well. */
const volatile u64 fold_first = 1, fold_second = 1;

/*
 * session_key names a session by its remote end and the local port: all of it for
 * IPv4, folded for IPv6, in a way that who sends cannot know.
 */
static __always_inline u64 session_key(const struct packet *p)
{
	u64 ports = (u64)p->source_port << 16 | p->destination_port, key;

	if (!p->ipv6)
		return p->source.low >> 32 << 32 | ports;
	key = (p->source.high ^ fold_first) * fold_second;
	key = ((key ^ key >> 32) + p->source.low) * fold_second;
	return ((key ^ key >> 32) + ports) * fold_second;
}

/* Whether there is any session; set by the loader. */
const volatile bool in_session = false;

static __always_inline int verdict(int action, u32 reason)
{
	u64 *n = bpf_map_lookup_elem(&counts, &reason);

	if (n)
		(*n)++;
	return action;
}

/* DHCP of IPv6 is answered from an address that no router forwards. */
static __always_inline bool link_local(const struct packet *p)
{
	return p->ipv6 && (p->source.high & bpf_cpu_to_be64(0xffc0000000000000)) ==
				  bpf_cpu_to_be64(0xfe80000000000000);
}

/* of_session says whether a segment is of a session that was there at the start. */
static __always_inline bool of_session(const struct packet *p)
{
	u64 key;

	if (!in_session || p->protocol != PROTOCOL_TCP || p->fragment ||
	    (p->flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return false;
	key = session_key(p);
	return bpf_map_lookup_elem(&sessions, &key);
}

/*
 * source_key is what has a bucket: an IPv4 address, an IPv6 /64, or, where that is
 * the link itself, the host on it.
 */
static __always_inline u64 source_key(const struct packet *p)
{
	return p->ipv6 && !link_local(p) ? p->source.high : p->source.low;
}

/* judge_source is for what no rule lets pass. */
static __always_inline int judge_source(const struct packet *p, struct shield_state *s, u64 now)
{
	u64 key = source_key(p), *spent = bpf_map_lookup_elem(&sources, &key), first;

	if (spent) {
		if (!take(spent, now, s->source_cost, s->burst))
			return verdict(XDP_DROP, DROPPED_SOURCE);
		if (!take(&s->known.spent, now, s->known_cost, s->burst))
			return verdict(XDP_DROP, DROPPED_AGGREGATE);
		return verdict(XDP_PASS, PASSED_KNOWN);
	}
	if (!take(&s->newcomers.spent, now, s->newcomer_cost, s->burst))
		return verdict(XDP_DROP, DROPPED_NEW);
	first = now - s->burst + s->source_cost;
	bpf_map_update_elem(&sources, &key, &first, BPF_NOEXIST);
	return verdict(XDP_PASS, PASSED_NEW);
}

/* skip_vlan reads past one tag, if there is one. */
static __always_inline bool skip_vlan(void **at, void *end, __be16 *type)
{
	struct vlan_header *vlan = *at;

	if (*type != bpf_htons(ETH_P_8021Q) && *type != bpf_htons(ETH_P_8021AD))
		return true;
	if ((void *)(vlan + 1) > end)
		return false;
	*type = vlan->type;
	*at = vlan + 1;
	return true;
}

/* keeps_link is true of frames that no router forwards and links depend on. */
static __always_inline bool keeps_link(__be16 type)
{
	switch (bpf_ntohs(type)) {
	case ETH_P_ARP:
	case ETH_P_8809:
	case ETH_P_EAPOL:
	case ETH_P_LLDP:
		return true;
	}
	return bpf_ntohs(type) < ETH_P_802_3_MIN;
}

/* unparsed is for what no source can be read of. */
static __always_inline int unparsed(struct shield_state *s, u64 now)
{
	if (take(&s->newcomers.spent, now, s->newcomer_cost, s->burst))
		return verdict(XDP_PASS, PASSED_NEW);
	return verdict(XDP_DROP, DROPPED_UNPARSED);
}

SEC("xdp.frags")
int shield(struct xdp_md *ctx)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethernet_header *ethernet = at;
	struct packet p = {};
	struct shield_state *s;
	u32 zero = 0, scope, reserve;
	u64 now = clock_now();
	__be16 type;

	s = bpf_map_lookup_elem(&state, &zero);
	if (!s)
		return XDP_PASS;
	if (now >= s->deadline)
		return verdict(XDP_PASS, EXPIRED);
	if ((void *)(ethernet + 1) > end)
		return unparsed(s, now);
	type = ethernet->type;
	at = ethernet + 1;
	if (!skip_vlan(&at, end, &type) || !skip_vlan(&at, end, &type))
		return unparsed(s, now);
	if (type == bpf_htons(ETH_P_IP)) {
		if (!parse_ipv4(at, end, &p))
			return unparsed(s, now);
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if (!parse_ipv6(at, end, &p))
			return unparsed(s, now);
	} else if (keeps_link(type)) {
		return verdict(XDP_PASS, PASSED_LINK);
	} else {
		return unparsed(s, now);
	}

	if (neighbour_discovery(&p))
		return verdict(XDP_PASS, PASSED_LINK);
	reserve = reserve_of(&p, &p.source);
	if (reserve != UNRESERVED) {
		if (reserve == RESERVE_DHCP && link_local(&p))
			return verdict(XDP_PASS, PASSED_LINK);
		if (take(&s->reserves[reserve].spent, now, s->reserve_cost, s->burst))
			return verdict(XDP_PASS, PASSED_NEVER_CUT);
	}
	scope = rule_scope(&p, p.destination_port, p.source_port);
	if (scope && in_scope(&p, &p.source, scope))
		return verdict(XDP_PASS, PASSED_NEVER_CUT);
	if (of_session(&p))
		return verdict(XDP_PASS, PASSED_SESSION);
	return judge_source(&p, s, now);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
