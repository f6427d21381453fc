/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/*
 * What a node must not be without: for programs that judge what an interface
 * receives, or what a node's sockets exchange. A port alone is no reason, for
 * anybody can send from or to it: a rule with a port names who the other end has
 * to be. Here is this node's port, there that of the other end.
 */
#ifndef REFLEX_NEVERCUT_H
#define REFLEX_NEVERCUT_H

#include "enforce.h"

#define SCOPE_MANAGEMENT 1 /* from where operators log in */
#define SCOPE_PEERS 2      /* what the node works with */

/* rule_scope says with whom a packet may never be cut: 0 is nobody. */
static __always_inline u32 rule_scope(const struct packet *p, u16 here, u16 there)
{
	if (p->fragment)
		return SCOPE_PEERS;
	switch (p->protocol) {
	case PROTOCOL_TCP:
		switch (here) {
		case 22: /* SSH */
			return SCOPE_MANAGEMENT;
		case 179:   /* BGP */
		case 2379:  /* etcd */
		case 2380:
		case 6443:  /* Kubernetes API */
		case 10250: /* kubelet */
		case 10256: /* health of kube-proxy */
			return SCOPE_PEERS;
		}
		switch (there) {
		case 53:    /* DNS */
		case 179:
		case 2049:  /* NFS */
		case 2379:
		case 2380:
		case 3260:  /* iSCSI */
		case 4317:  /* OTLP: where this node's own telemetry goes */
		case 4318:
		case 4420:  /* NVMe over TCP */
		case 6443:
		case 8009:  /* NVMe discovery */
		case 10250:
			return SCOPE_PEERS;
		}
		return 0;
	case PROTOCOL_UDP:
		switch (p->destination_port) { /* of tunnels: they send from any */
		case 4789: /* VXLAN */
		case 6081: /* Geneve */
		case 8472: /* VXLAN, as Linux has it */
			return SCOPE_PEERS;
		}
		switch (there) {
		case 53:
		case 123: /* NTP */
		case 2049:
			return SCOPE_PEERS;
		}
	}
	return 0;
}

/* What nobody can list the other end of has a bucket for each kind. */
enum reserve {
	RESERVE_DHCP,
	RESERVE_ICMP,
	RESERVE_METADATA,
	RESERVES,
	UNRESERVED = RESERVES,
};

struct line {
	u64 spent;
	u64 unused[7]; /* CPUs that write one do not disturb the readers of another */
};

/* Not a function: clang would then lay out the whole shield anew. */
#define DHCP_PORT(p, port) ((p)->ipv6 ? (port) == 546 || (port) == 547 : (port) == 67 || (port) == 68)

/*
 * reserve_of is for whom nobody can list: such packets pass as long as there are
 * few. Beyond that they are judged as all are. There is the other end.
 */
static __always_inline u32 reserve_of(const struct packet *p, const struct address *there)
{
	if (icmp_error(p))
		return RESERVE_ICMP;
	if (p->protocol == PROTOCOL_UDP) {
		u16 port = p->destination_port;

		if (DHCP_PORT(p, port))
			return RESERVE_DHCP;
	}
	/* Of cloud providers: 169.254.169.254 and fd00:ec2::254. */
	if (p->ipv6 ? there->high == bpf_cpu_to_be64(0xfd000ec200000000) &&
			      there->low == bpf_cpu_to_be64(0x254) :
		      there->low == mapped(bpf_htonl(0xa9fea9fe)))
		return RESERVE_METADATA;
	return UNRESERVED;
}

#endif
