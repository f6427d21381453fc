// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

// frame is a packet from its Ethernet header on.
type frame []byte

const (
	typeIPv4 = 0x0800
	typeIPv6 = 0x86dd
	typeVLAN = 0x8100
	typeQinQ = 0x88a8

	protocolICMP     = 1
	protocolTCP      = 6
	protocolUDP      = 17
	protocolFragment = 44
	protocolICMPv6   = 58

	flagSYN = 0x02
	flagACK = 0x10
)

func ethernet(kind uint16, payload []byte) frame {
	header := make([]byte, 14, 14+len(payload))
	copy(header, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2})
	binary.BigEndian.PutUint16(header[12:], kind)
	return append(header, payload...)
}

// tagged puts VLAN tags in front of what a frame carries, the outermost first.
func (f frame) tagged(kinds ...uint16) frame {
	out := slices.Clone(f[:12])
	for i, kind := range kinds {
		out = binary.BigEndian.AppendUint16(out, kind)
		out = binary.BigEndian.AppendUint16(out, uint16(100+i))
	}
	return append(out, f[12:]...)
}

func (f frame) with(at int, value byte) frame {
	out := slices.Clone(f)
	out[at] = value
	return out
}

// packet is a datagram of either family in an Ethernet frame.
func packet(from, to string, protocol byte, payload []byte) frame {
	source, destination := netip.MustParseAddr(from), netip.MustParseAddr(to)
	if source.Is4() {
		header := make([]byte, 20)
		header[0], header[8], header[9] = 0x45, 64, protocol
		binary.BigEndian.PutUint16(header[2:], uint16(20+len(payload)))
		copy(header[12:], source.AsSlice())
		copy(header[16:], destination.AsSlice())
		return ethernet(typeIPv4, append(header, payload...))
	}
	header := make([]byte, 40)
	header[0], header[6], header[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(header[4:], uint16(len(payload)))
	copy(header[8:], source.AsSlice())
	copy(header[24:], destination.AsSlice())
	return ethernet(typeIPv6, append(header, payload...))
}

// hops sets how many routers an IPv6 packet may pass yet.
func (f frame) hops(n byte) frame { return f.with(14+7, n) }

func tcp(from, to uint16, flags byte, data int) []byte {
	segment := make([]byte, 20+data)
	binary.BigEndian.PutUint16(segment, from)
	binary.BigEndian.PutUint16(segment[2:], to)
	segment[12], segment[13] = 5<<4, flags
	return segment
}

func udp(from, to uint16, data int) []byte {
	datagram := make([]byte, 8+data)
	binary.BigEndian.PutUint16(datagram, from)
	binary.BigEndian.PutUint16(datagram[2:], to)
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	return datagram
}

func icmp(kind byte) []byte { return append([]byte{kind}, make([]byte, 31)...) }

// extension is an IPv6 extension header of 8 bytes in front of what follows.
func extension(next byte, payload []byte) []byte {
	return append([]byte{next, 0, 0, 0, 0, 0, 0, 0}, payload...)
}

// give runs a program on a frame and returns its answer.
func (e *Enforcement) give(t testing.TB, program string, f frame) uint32 {
	t.Helper()
	answer, err := e.loaded.Programs[program].Run(&ebpf.RunOptions{Data: f})
	require.NoError(t, err)
	return answer
}

// counted returns the counts by reason, without those that are 0.
func (e *Enforcement) counted(t testing.TB) map[string]uint64 {
	t.Helper()
	counts, err := e.Counts()
	require.NoError(t, err)
	found := map[string]uint64{}
	for _, c := range counts {
		if c.Packets > 0 {
			found[c.Reason] = c.Packets
		}
	}
	return found
}

func prefixesOf(text ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range text {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}
