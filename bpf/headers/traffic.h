/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/*
 * What the sockets of a cgroup sent and received. The programs of traffic.bpf.c
 * count, the sweep of cgroup.bpf.c reads.
 */
#ifndef REFLEX_TRAFFIC_H
#define REFLEX_TRAFFIC_H

#include "kernel.h"

/* In the order of arc's fields. */
enum traffic {
	RECEIVED_BYTES,
	RECEIVED_PACKETS,
	SENT_BYTES,
	SENT_PACKETS,
	OPENS, /* TCP connections begun */
	TRAFFIC,
};

struct traffic_counts {
	u64 count[TRAFFIC];
};

/*
 * By cgroup id, a copy a CPU. Not an LRU: what that throws out would begin again
 * at 0, and nobody would know. The loader bounds it and removes cgroups that are
 * gone. Not preallocated: that would be (CPUs x bound) copies, of which a machine
 * uses those of the cgroups that have a socket.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, struct traffic_counts);
} traffic SEC(".maps");

#endif
