/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/* What the programs that drop packets share: clock, buckets, prefixes, counts. */
#ifndef REFLEX_ENFORCE_H
#define REFLEX_ENFORCE_H

#include "packet.h"

#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_NOEXIST 1

/*
 * The clock of deadlines and buckets: CLOCK_MONOTONIC as of the last timer tick
 * (1 to 10 ms ago), in ns. Reading the exact one takes longer than everything
 * else here. It stands still while the machine sleeps, when no packet comes.
 * Since 5.11.
 */
#define clock_now() bpf_ktime_get_coarse_ns()

/* A bucket keeps its state in one word: the time (ns) up to which its credit is
 * spent. What was not spent for longer than burst is lost. */

/* settle returns the word as it counts now. */
static __always_inline u64 settle(u64 *spent, u64 now, u64 burst)
{
	u64 at = *(volatile u64 *)spent, earliest = now - burst;

	if ((s64)(at - earliest) >= 0)
		return at;
	/* Another CPU may do the same: what it took meanwhile is forgotten. */
	*(volatile u64 *)spent = earliest;
	return earliest;
}

/*
 * take takes cost (ns of credit) if it is there. CPUs that look at the same time
 * may overdraw by a packet each, and pay it back. A refusal writes nothing.
 */
static __always_inline bool take(u64 *spent, u64 now, u64 cost, u64 burst)
{
	if ((s64)(settle(spent, now, burst) + cost - now) > 0)
		return false;
	__sync_fetch_and_add(spent, cost);
	return true;
}

/*
 * Prefixes that an operator listed, and what for; set by the loader. They are few,
 * and looking at each takes less time than a trie of the kernel's.
 */
#define MAX_PREFIXES 64

struct prefix4 {
	__be32 network, mask;
	u32 scope;
};

struct prefix6 {
	u64 high, low, mask_high, mask_low;
	u32 scope, unused;
};

const volatile struct prefix4 listed4[MAX_PREFIXES] = {};
const volatile struct prefix6 listed6[MAX_PREFIXES] = {};
const volatile u32 listed4_count = 0, listed6_count = 0;

static __always_inline bool in_scope(const struct packet *p, const struct address *a, u32 scope)
{
	if (!p->ipv6) {
		for (u32 i = 0; i < MAX_PREFIXES && i < listed4_count; i++)
			if (((__be32)(a->low >> 32) & listed4[i].mask) == listed4[i].network &&
			    listed4[i].scope & scope)
				return true;
		return false;
	}
	for (u32 i = 0; i < MAX_PREFIXES && i < listed6_count; i++)
		if ((a->high & listed6[i].mask_high) == listed6[i].high &&
		    (a->low & listed6[i].mask_low) == listed6[i].low && listed6[i].scope & scope)
			return true;
	return false;
}

#endif
