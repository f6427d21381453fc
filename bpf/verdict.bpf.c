/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */
//go:build ignore

/*
 * Programs on what the sockets of one cgroup send and receive: a token bucket each
 * way, or nothing at all but what is never cut. Each is loaded for one cgroup,
 * with maps of its own; a node's quarantine is for the root of them all. Past their
 * deadline they let everything pass.
 */
#include "headers/nevercut.h"

/* The context of a cgroup_skb program (include/uapi/linux/bpf.h), up to what is read. */
struct __sk_buff {
	u32 len; /* from the IP header on */
	u32 unused[9];
	u32 ifindex;
	u32 unread[8];
	u32 data;
	u32 data_end;
};

_Static_assert(__builtin_offsetof(struct __sk_buff, ifindex) == 40, "as in the kernel's ABI");
_Static_assert(__builtin_offsetof(struct __sk_buff, data) == 76, "as in the kernel's ABI");

/* What a program may answer; the latter two to what is sent only. */
#define DROP 0
#define PASS 1
#define DROP_CONGESTED 2 /* TCP slows down, and UDP is not told of an error */
#define PASS_CONGESTED 3 /* TCP slows down */

/* What became of packets, in the order of verdictCounts. */
enum verdict_count {
	EXPIRED,
	PASSED_LOOPBACK,
	PASSED_NEVER_CUT, /* ICMP errors, neighbour discovery; of a node, its rules */
	PASSED_LISTED,    /* to or from what the operator listed */
	PASSED_SESSION,   /* a small segment of a TCP session, on credit */
	PASSED,           /* within the bucket */
	DROPPED_RATE,     /* over the bucket */
	DROPPED_DENIED,   /* in quarantine */
	VERDICT_COUNTS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICT_COUNTS);
	__type(key, u32);
	__type(value, u64);
} counts SEC(".maps");

struct verdict_state {
	/* Of the loader: times in ns. */
	u64 deadline;
	u64 burst;
	u64 credit; /* how far into the future small segments may take */
	u64 cost;   /* of a byte, in ns << COST_SHIFT */
	u64 reserve_cost; /* of a packet, in ns */
	u64 unused[3];
	/* Of the program: up to when each direction's credit is spent. */
	u64 received;
	u64 unused_received[7];
	u64 sent;
	u64 unused_sent[7];
	struct line reserves[RESERVES];
};

#define COST_SHIFT 20

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct verdict_state);
} state SEC(".maps");

/* Every network namespace's loopback interface has this index. */
const volatile u32 loopback = 1;

#define SCOPE_ALLOWED 4 /* beside those of nevercut.h */

static __always_inline int verdict(int answer, u32 reason)
{
	u64 *n = bpf_map_lookup_elem(&counts, &reason);

	if (n)
		__sync_fetch_and_add(n, 1); /* an interrupt may come between */
	return answer;
}

static __always_inline bool parse(struct __sk_buff *skb, struct packet *p)
{
	void *at = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u8 *first = at;

	if ((void *)(first + 1) > end)
		return false;
	return *first >> 4 == 4 ? parse_ipv4(at, end, p) : parse_ipv6(at, end, p);
}

/* exempt returns why a packet is never cut, 0 if it may be. */
static __always_inline u32 exempt(const struct packet *p, bool sent)
{
	if (icmp_error(p) || neighbour_discovery(p))
		return PASSED_NEVER_CUT;
	if (in_scope(p, sent ? &p->destination : &p->source, SCOPE_ALLOWED))
		return PASSED_LISTED;
	return 0;
}

/*
 * Longer segments of TCP carry data. Shorter ones keep a session alive, and close
 * it: without them the other end would send again, or never know.
 */
#define SMALL_SEGMENT 128

/*
 * throttle takes what a packet is worth from the bucket of its direction, however
 * little is in there: a bunch of segments may be larger than any bucket.
 */
static __always_inline int throttle(struct __sk_buff *skb, struct verdict_state *s, u64 *spent, bool sent)
{
	struct packet p = {};
	u64 now = clock_now(), at, cost;
	u32 reason;

	if (now >= s->deadline)
		return verdict(PASS, EXPIRED);
	if (skb->ifindex == loopback)
		return verdict(PASS, PASSED_LOOPBACK);
	at = settle(spent, now, s->burst);
	cost = (skb->len * s->cost) >> COST_SHIFT;
	if ((s64)(at - now) < 0) {
		__sync_fetch_and_add(spent, cost);
		/* Half empty: a sender that listens slows down before it loses any. */
		return verdict(sent && (s64)(at + s->burst / 2 - now) > 0 ? PASS_CONGESTED : PASS, PASSED);
	}
	if (!parse(skb, &p))
		return verdict(sent ? DROP_CONGESTED : DROP, DROPPED_RATE);
	reason = exempt(&p, sent);
	if (reason)
		return verdict(PASS, reason);
	if (p.protocol == PROTOCOL_TCP && !p.fragment && skb->len <= SMALL_SEGMENT && p.flags &&
	    !(p.flags & TCP_SYN) && (s64)(at - now) < (s64)s->credit) {
		__sync_fetch_and_add(spent, cost);
		return verdict(PASS, PASSED_SESSION);
	}
	return verdict(sent ? DROP_CONGESTED : DROP, DROPPED_RATE);
}

/* quarantine passes what is never cut and nothing else, whatever it looks like. */
static __always_inline int quarantine(struct __sk_buff *skb, bool sent)
{
	struct packet p = {};
	struct verdict_state *s;
	u32 zero = 0, reason;

	s = bpf_map_lookup_elem(&state, &zero);
	if (!s || clock_now() >= s->deadline)
		return verdict(PASS, EXPIRED);
	if (skb->ifindex == loopback)
		return verdict(PASS, PASSED_LOOPBACK);
	if (!parse(skb, &p))
		return verdict(DROP, DROPPED_DENIED);
	reason = exempt(&p, sent);
	if (reason)
		return verdict(PASS, reason);
	return verdict(DROP, DROPPED_DENIED);
}

/*
 * scopes_of returns all that an address is listed for. A global function, since 5.6:
 * the verifier looks at it once, and not by each way that leads to it.
 */
__attribute__((noinline)) u32 scopes_of(u64 high, u64 low, u32 ipv6)
{
	u32 scopes = 0;

	if (!ipv6) {
		for (u32 i = 0; i < MAX_PREFIXES && i < listed4_count; i++)
			if (((__be32)(low >> 32) & listed4[i].mask) == listed4[i].network)
				scopes |= listed4[i].scope;
		return scopes;
	}
	for (u32 i = 0; i < MAX_PREFIXES && i < listed6_count; i++)
		if ((high & listed6[i].mask_high) == listed6[i].high && (low & listed6[i].mask_low) == listed6[i].low)
			scopes |= listed6[i].scope;
	return scopes;
}

/*
 * isolate is for every socket of a node: what a node must not be without passes as
 * well, with those whom the operator named.
 */
static __always_inline int isolate(struct __sk_buff *skb, bool sent)
{
	struct packet p = {};
	struct verdict_state *s;
	u32 zero = 0, reserve, scope, scopes;
	u64 now = clock_now();
	struct address *there;

	s = bpf_map_lookup_elem(&state, &zero);
	if (!s || now >= s->deadline)
		return verdict(PASS, EXPIRED);
	if (skb->ifindex == loopback)
		return verdict(PASS, PASSED_LOOPBACK);
	if (!parse(skb, &p))
		return verdict(DROP, DROPPED_DENIED);
	if (neighbour_discovery(&p) || listener_discovery(&p))
		return verdict(PASS, PASSED_NEVER_CUT);
	there = sent ? &p.destination : &p.source;
	reserve = reserve_of(&p, there);
	if (reserve == RESERVE_DHCP && !DHCP_PORT(&p, p.source_port))
		reserve = UNRESERVED; /* who asks or answers has both ports */
	if (reserve != UNRESERVED && take(&s->reserves[reserve].spent, now, s->reserve_cost, s->burst))
		return verdict(PASS, PASSED_NEVER_CUT);
	scope = sent ? rule_scope(&p, p.source_port, p.destination_port) :
		       rule_scope(&p, p.destination_port, p.source_port);
	scopes = scopes_of(there->high, there->low, p.ipv6);
	if (scopes & scope)
		return verdict(PASS, PASSED_NEVER_CUT);
	if (scopes & SCOPE_ALLOWED)
		return verdict(PASS, PASSED_LISTED);
	return verdict(DROP, DROPPED_DENIED);
}

SEC("cgroup_skb/ingress")
int throttle_received(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct verdict_state *s = bpf_map_lookup_elem(&state, &zero);

	return s ? throttle(skb, s, &s->received, false) : PASS;
}

SEC("cgroup_skb/egress")
int throttle_sent(struct __sk_buff *skb)
{
	u32 zero = 0;
	struct verdict_state *s = bpf_map_lookup_elem(&state, &zero);

	return s ? throttle(skb, s, &s->sent, true) : PASS;
}

SEC("cgroup_skb/ingress")
int deny_received(struct __sk_buff *skb)
{
	return quarantine(skb, false);
}

SEC("cgroup_skb/egress")
int deny_sent(struct __sk_buff *skb)
{
	return quarantine(skb, true);
}

SEC("cgroup_skb/ingress")
int isolate_received(struct __sk_buff *skb)
{
	return isolate(skb, false);
}

SEC("cgroup_skb/egress")
int isolate_sent(struct __sk_buff *skb)
{
	return isolate(skb, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
