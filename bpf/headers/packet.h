/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0 */
/* Copyright The Reflex Authors */

/*
 * What is read of a packet, from its IP header on: for programs that judge
 * packets. Addresses are as they are on the wire, ports in the CPU's order.
 */
#ifndef REFLEX_PACKET_H
#define REFLEX_PACKET_H

#include "kernel.h"
#include <bpf/bpf_endian.h>

typedef __u16 u16;

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_ICMP 1
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AUTHENTICATION 51
#define PROTOCOL_ICMPV6 58
#define PROTOCOL_DESTINATION 60
#define PROTOCOL_MOBILITY 135

#define TCP_SYN 0x02
#define TCP_ACK 0x10

/* An address of either family: IPv4 is mapped, as in ::ffff:192.0.2.1. */
struct address {
	u64 high, low;
};

struct packet {
	struct address source, destination;
	u16 source_port, destination_port; /* 0 where there are none, or they cannot be read */
	__u8 protocol;
	__u8 hops;  /* left */
	__u8 type;  /* of an ICMP message */
	__u8 flags; /* of a TCP segment; 0 where they cannot be read */
	bool ipv6;
	bool fragment; /* other than the first: the ports are elsewhere */
};

struct ipv4_header {
	__u8 version_length; /* in words */
	__u8 service;
	__be16 length;
	__be16 identification;
	__be16 offset; /* of a fragment; the upper three bits are flags */
	__u8 hops;
	__u8 protocol;
	__be16 checksum;
	__be32 source, destination;
};

struct ipv6_header {
	__be32 version_flow;
	__be16 length;
	__u8 next;
	__u8 hops;
	u64 source_high, source_low, destination_high, destination_low;
};

struct extension_header {
	__u8 next;
	__u8 length;
	__be16 offset; /* of a fragment; the lower three bits are flags */
	__be32 identification;
};

struct port_header {
	__be16 source, destination;
};

/* The word before an IPv4 address that is mapped. */
static __always_inline u64 mapped(__be32 address)
{
	return (u64)address << 32 | bpf_htonl(0xffff);
}

/*
 * parse_transport reads what follows the IP headers, as far as it is there. What
 * is cut off is left 0, which no rule matches.
 */
static __always_inline void parse_transport(void *at, void *end, struct packet *p)
{
	struct port_header *ports = at;
	__u8 *bytes = at;

	if (bytes + 4 > (__u8 *)end)
		return;
	switch (p->protocol) {
	case PROTOCOL_TCP:
		if (bytes + 14 <= (__u8 *)end)
			p->flags = bytes[13];
		/* fall through */
	case PROTOCOL_UDP:
		p->source_port = bpf_ntohs(ports->source);
		p->destination_port = bpf_ntohs(ports->destination);
		return;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMPV6:
		p->type = bytes[0];
	}
}

static __always_inline bool parse_ipv4(void *at, void *end, struct packet *p)
{
	struct ipv4_header *ip = at;
	u32 length;

	if ((void *)(ip + 1) > end)
		return false;
	length = (ip->version_length & 15) * 4;
	if (ip->version_length >> 4 != 4 || length < sizeof(*ip))
		return false;
	p->source.low = mapped(ip->source);
	p->destination.low = mapped(ip->destination);
	p->protocol = ip->protocol;
	p->hops = ip->hops;
	p->fragment = ip->offset & bpf_htons(0x1fff);
	if (!p->fragment)
		parse_transport(at + length, end, p);
	return true;
}

/* As many headers are skipped before the transport's; who sends more has no ports. */
#define MAX_EXTENSIONS 6

static __always_inline bool parse_ipv6(void *at, void *end, struct packet *p)
{
	struct ipv6_header *ip = at;
	__u8 next;

	if ((void *)(ip + 1) > end || (ip->version_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return false;
	p->ipv6 = true;
	p->source = (struct address){ip->source_high, ip->source_low};
	p->destination = (struct address){ip->destination_high, ip->destination_low};
	p->hops = ip->hops;
	next = ip->next;
	at = ip + 1;
#pragma unroll
	for (int i = 0; i <= MAX_EXTENSIONS; i++) {
		struct extension_header *extension = at;
		u32 length;

		p->protocol = next;
		switch (next) {
		case PROTOCOL_HOP_BY_HOP:
		case PROTOCOL_ROUTING:
		case PROTOCOL_DESTINATION:
		case PROTOCOL_MOBILITY:
		case PROTOCOL_FRAGMENT:
		case PROTOCOL_AUTHENTICATION:
			break;
		default:
			parse_transport(at, end, p);
			return true;
		}
		if ((void *)(extension + 1) > end)
			return true;
		length = (extension->length + 1) * 8;
		if (next == PROTOCOL_AUTHENTICATION)
			length = (extension->length + 2) * 4;
		if (next == PROTOCOL_FRAGMENT) {
			length = 8;
			p->fragment = extension->offset & bpf_htons(0xfff8);
		}
		next = extension->next;
		if (p->fragment) {
			p->protocol = next;
			return true;
		}
		at += length;
	}
	return true;
}

/*
 * Messages of ICMP that report an error, of which path MTU discovery lives:
 * destination unreachable, packet too big, time exceeded, parameter problem.
 */
static __always_inline bool icmp_error(const struct packet *p)
{
	if (p->fragment)
		return false;
	if (p->protocol == PROTOCOL_ICMP && !p->ipv6)
		return p->type == 3 || p->type == 11 || p->type == 12;
	return p->protocol == PROTOCOL_ICMPV6 && p->ipv6 && p->type >= 1 && p->type <= 4;
}

/*
 * Neighbour discovery, router advertisements and redirects included. No router
 * forwards a packet that arrives with 255 hops left: it is of this link.
 */
static __always_inline bool neighbour_discovery(const struct packet *p)
{
	return p->protocol == PROTOCOL_ICMPV6 && p->ipv6 && !p->fragment && p->hops == 255 &&
	       p->type >= 133 && p->type <= 137;
}

/*
 * Multicast listener discovery (RFC 3810), without which a switch that snoops
 * forwards no solicitation after some minutes. With one hop left it leaves no link.
 */
static __always_inline bool listener_discovery(const struct packet *p)
{
	return p->protocol == PROTOCOL_ICMPV6 && p->ipv6 && !p->fragment && p->hops == 1 &&
	       ((p->type >= 130 && p->type <= 132) || p->type == 143);
}

#endif
