/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/* What the programs that drop packets share: clock, buckets, prefixes, counts. */
#ifndef REFLEX_ENFORCE_H
#define REFLEX_ENFORCE_H

#include "packet.h"

#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_LPM_TRIE 11
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

/* Prefixes that an operator listed, IPv4 mapped. The value says what for. */
struct prefix {
	u32 length;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct prefix);
	__type(value, u32);
} prefixes SEC(".maps");

/* What any prefix is listed for; set by the loader. */
const volatile u32 listed = 0;

static __always_inline bool in_scope(const struct address *a, u32 scope)
{
	struct prefix key = {.length = 128};
	u32 *of;

	if (!(listed & scope))
		return false;
	__builtin_memcpy(key.address, a, sizeof(*a));
	of = bpf_map_lookup_elem(&prefixes, &key);
	return of && *of & scope;
}

#endif
