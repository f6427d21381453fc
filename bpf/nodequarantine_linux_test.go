// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The ends that a node's quarantine tells apart.
const (
	nodeHere, nodeHere6   = "198.51.100.1", "2001:db8::1"
	nodeAdmin, nodeAdmin6 = "192.0.2.7", "2001:db8:1::7"
	nodePeer, nodePeer6   = "10.1.2.3", "fd00:10::7"
	nodeAllow, nodeAllow6 = "172.16.0.9", "fd00:172::9"
	nodeOther, nodeOther6 = "203.0.113.5", "2001:db8:bad::5"
)

func aNodeQuarantine(t testing.TB, allowed ...string) *Enforcement {
	t.Helper()
	return aVerdict(t, VerdictOptions{
		Management: prefixesOf("192.0.2.0/24", "2001:db8:1::/48"), Peers: prefixesOf("10.0.0.0/8", "fd00:10::/32"),
		Allowed: prefixesOf(append(allowed, "172.16.0.0/16", "fd00:172::/32")...),
	}, notLoopback, "isolate_received", "isolate_sent")
}

// serving is a service of this node, asking one of the other end's, and tunnelled
// what has its port at its destination either way.
func serving(here, there string, protocol byte, port uint16) exchange {
	return exchange{packet(there, here, protocol, ports(protocol, 40000, port)), packet(here, there, protocol, ports(protocol, port, 40000))}
}

func asking(here, there string, protocol byte, port uint16) exchange {
	return exchange{packet(there, here, protocol, ports(protocol, port, 40000)), packet(here, there, protocol, ports(protocol, 40000, port))}
}

func tunnelled(here, there string, protocol byte, port uint16) exchange {
	return exchanged(here, there, protocol, ports(protocol, 40000, port))
}

func ports(protocol byte, from, to uint16) []byte {
	if protocol == protocolTCP {
		return tcp(from, to, flagACK, 9)
	}
	return udp(from, to, 9)
}

// judged gives both directions of an exchange and expects them to meet one fate;
// "" is dropped.
func (e *Enforcement) judged(t *testing.T, x exchange, reason string) {
	t.Helper()
	want := uint32(skbPass)
	if reason == "" {
		want, reason = skbDrop, "dropped.denied"
	}
	for program, f := range map[string]frame{"isolate_received": x.received, "isolate_sent": x.sent} {
		before := e.counted(t)[reason]
		assert.Equal(t, want, e.give(t, program, f), program)
		assert.Equal(t, before+1, e.counted(t)[reason], program)
	}
}

// Each rule with a port passes with whom it is for, and with nobody else.
func TestQuarantineOfANodeKeepsEachRuleToWhomItIsFor(t *testing.T) {
	e := aNodeQuarantine(t)
	type way func(here, there string, protocol byte, port uint16) exchange
	for _, rule := range []struct {
		name     string
		way      way
		protocol byte
		ports    []uint16
		operator bool // for management, else for peers
	}{
		{"SSH", serving, protocolTCP, []uint16{22}, true},
		{"BGP, etcd, API server, kubelet, kube-proxy's health", serving, protocolTCP, []uint16{179, 2379, 2380, 6443, 10250, 10256}, false},
		{"DNS, BGP, NFS, etcd, iSCSI, OTLP, NVMe, API server, kubelet", asking, protocolTCP, []uint16{53, 179, 2049, 2379, 2380, 3260, 4317, 4318, 4420, 6443, 8009, 10250}, false},
		{"DNS, NTP, NFS", asking, protocolUDP, []uint16{53, 123, 2049}, false},
		{"VXLAN, Geneve", tunnelled, protocolUDP, []uint16{4789, 6081, 8472}, false},
	} {
		for _, port := range rule.ports {
			for who, ends := range map[string][2]string{
				"management": {nodeAdmin, nodeAdmin6}, "a peer": {nodePeer, nodePeer6}, "anybody": {nodeOther, nodeOther6},
			} {
				reason := ""
				if who == "management" && rule.operator || who == "a peer" && !rule.operator {
					reason = "passed.never_cut"
				}
				t.Run(fmt.Sprintf("%s (%d) of %s", rule.name, port, who), func(t *testing.T) {
					e.judged(t, rule.way(nodeHere, ends[0], rule.protocol, port), reason)
					e.judged(t, rule.way(nodeHere6, ends[1], rule.protocol, port), reason)
				})
			}
		}
	}
}

func TestQuarantineOfANodeCutsWhatNoRuleIsFor(t *testing.T) {
	e := aNodeQuarantine(t)
	for name, x := range map[string]exchange{
		"SSH from here to an operator's machine":    asking(nodeHere, nodeAdmin, protocolTCP, 22),
		"an operator's other port":                  serving(nodeHere, nodeAdmin, protocolTCP, 8080),
		"SSH in UDP":                                serving(nodeHere, nodeAdmin, protocolUDP, 22),
		"a peer's other port":                       asking(nodeHere, nodePeer, protocolTCP, 8080),
		"HTTPS of a peer":                           asking(nodeHere, nodePeer, protocolTCP, 443),
		"a name server here":                        serving(nodeHere, nodePeer, protocolTCP, 53),
		"storage served from here":                  serving(nodeHere, nodePeer, protocolTCP, 2049),
		"kube-proxy's health of a peer":             asking(nodeHere, nodePeer, protocolTCP, 10256),
		"a kubelet's port in UDP":                   serving(nodeHere, nodePeer, protocolUDP, 10250),
		"from a tunnel's port":                      exchanged(nodeHere, nodePeer, protocolUDP, udp(4789, 40000, 9)),
		"TCP":                                       asking(nodeHere, nodeOther, protocolTCP, 443),
		"TCP, IPv6":                                 asking(nodeHere6, nodeOther6, protocolTCP, 443),
		"ping":                                      exchanged(nodeHere, nodeOther, protocolICMP, icmp(8)),
		"ping, IPv6":                                exchanged(nodeHere6, nodeOther6, protocolICMPv6, icmp(128)),
		"a redirect of IPv4":                        exchanged(nodeHere, nodeOther, protocolICMP, icmp(5)),
		"an IPv6 number of ICMP in IPv4":            exchanged(nodeHere, nodeOther, protocolICMPv6, icmp(2)),
		"beside the metadata address":               asking(nodeHere, "169.254.169.253", protocolTCP, 80),
		"DHCP's destination from another port":      exchanged(nodeHere, nodeOther, protocolUDP, udp(40000, 67, 200)),
		"DHCP's ports in TCP":                       exchanged(nodeHere, nodeOther, protocolTCP, tcp(68, 67, flagSYN, 0)),
		"DHCP's ports of IPv4 in IPv6":              exchanged(nodeHere6, nodeOther6, protocolUDP, udp(68, 67, 200)),
		"a fragment of anybody":                     {fragment4(packet(nodeOther, nodeHere, 17, udp(67, 68, 64)), 100), fragment4(packet(nodeHere, nodeOther, 17, udp(68, 67, 64)), 100)},
		"a fragment of an error":                    {fragment4(packet(nodeOther, nodeHere, 1, icmp(3)), 100), fragment4(packet(nodeHere, nodeOther, 1, icmp(3)), 100)},
		"neighbour discovery from beyond the link":  exchanged(nodeHere6, nodeOther6, protocolICMPv6, icmp(135)).hops(254),
		"listener discovery that could leave it":    exchanged(nodeHere6, nodeOther6, protocolICMPv6, icmp(143)).hops(2),
		"what says it is from an operator, and not": {packet(nodeHere, nodeAdmin, protocolTCP, tcp(40000, 22, flagSYN, 0)), packet(nodeAdmin, nodeHere, protocolTCP, tcp(22, 40000, flagACK, 0))},
	} {
		t.Run(name, func(t *testing.T) { e.judged(t, x, "") })
	}
}

func TestQuarantineOfANodePassesWhatNobodyCanList(t *testing.T) {
	e := aNodeQuarantine(t)
	for name, x := range map[string]exchange{
		"unreachable":            exchanged(nodeHere, nodeOther, protocolICMP, icmp(3)),
		"time exceeded":          exchanged(nodeHere, nodeOther, protocolICMP, icmp(11)),
		"parameter problem":      exchanged(nodeHere, nodeOther, protocolICMP, icmp(12)),
		"unreachable, IPv6":      exchanged(nodeHere6, nodeOther6, protocolICMPv6, icmp(1)),
		"packet too big":         exchanged(nodeHere6, nodeOther6, protocolICMPv6, icmp(2)),
		"an error after headers": exchanged(nodeHere6, nodeOther6, 0, extension(60, extension(protocolICMPv6, icmp(2)))),
		"router advertisement":   exchanged(nodeHere6, "fe80::1", protocolICMPv6, icmp(134)).hops(255),
		"solicitation":           exchanged(nodeHere6, "fe80::2", protocolICMPv6, icmp(135)).hops(255),
		"advertisement":          exchanged(nodeHere6, "fe80::2", protocolICMPv6, icmp(136)).hops(255),
		"listener query":         exchanged("ff02::1", "fe80::1", protocolICMPv6, icmp(130)).hops(1),
		"listener report":        exchanged("fe80::1", "ff02::16", 0, extension(protocolICMPv6, icmp(143))).hops(1),
		"DHCP": {
			packet(nodeOther, nodeHere, protocolUDP, udp(67, 68, 240)), packet(nodeHere, nodeOther, protocolUDP, udp(68, 67, 240)),
		},
		"DHCP of everybody": {
			packet("10.0.0.1", "255.255.255.255", protocolUDP, udp(67, 68, 240)), packet("0.0.0.0", "255.255.255.255", protocolUDP, udp(68, 67, 240)),
		},
		"DHCPv6": {
			packet("fe80::1", "fe80::2", protocolUDP, udp(547, 546, 60)), packet("fe80::2", "ff02::1:2", protocolUDP, udp(546, 547, 60)),
		},
		"metadata":       asking(nodeHere, "169.254.169.254", protocolTCP, 80),
		"metadata, IPv6": asking(nodeHere6, "fd00:ec2::254", protocolTCP, 80),
		"a peer's fragment": {
			fragment4(packet(nodePeer, nodeHere, protocolUDP, udp(9, 9, 64)), 100), fragment4(packet(nodeHere, nodePeer, protocolUDP, udp(9, 9, 64)), 100),
		},
	} {
		t.Run(name, func(t *testing.T) { e.judged(t, x, "passed.never_cut") })
	}
	for name, x := range map[string]exchange{
		"allowed":              asking(nodeHere, nodeAllow, protocolTCP, 443),
		"allowed, IPv6":        serving(nodeHere6, nodeAllow6, protocolUDP, 7),
		"a ping allowed":       exchanged(nodeHere, nodeAllow, protocolICMP, icmp(8)),
		"an allowed fragment":  {fragment4(packet(nodeAllow, nodeHere, 17, nil), 100), fragment4(packet(nodeHere, nodeAllow, 17, nil), 100)},
		"allowed, and cut off": {packet(nodeAllow, nodeHere, protocolTCP, nil), packet(nodeHere, nodeAllow, protocolTCP, nil)},
	} {
		t.Run(name, func(t *testing.T) { e.judged(t, x, "passed.allowed") })
	}
}

// What nobody can list passes while there is little of it: it would be a way out.
func TestQuarantineOfANodeHasFiniteReserves(t *testing.T) {
	for name, x := range map[string]exchange{
		"errors":   exchanged(nodeHere, nodeOther, protocolICMP, icmp(3)),
		"DHCP":     exchanged(nodeHere, nodeOther, protocolUDP, udp(68, 67, 1000)),
		"metadata": asking(nodeHere, "169.254.169.254", protocolTCP, 80),
	} {
		t.Run(name, func(t *testing.T) {
			e := aNodeQuarantine(t)
			began := time.Now()
			for range 500 {
				e.give(t, "isolate_received", x.received)
				e.give(t, "isolate_sent", x.sent)
			}
			most := uint64(reserveRate*(time.Since(began).Seconds()+0.1)) + 10 // its clock ticks up to every 10 ms
			counts := e.counted(t)
			assert.LessOrEqual(t, counts["passed.never_cut"], most, counts)
			assert.GreaterOrEqual(t, counts["passed.never_cut"], uint64(reserveRate/10-1), counts)
			if most < 900 { // a slow machine sends less than passes
				assert.Positive(t, counts["dropped.denied"], counts)
			}
		})
	}
}

func TestQuarantineOfANodeCutsWhatCannotBeRead(t *testing.T) {
	e := aNodeQuarantine(t, "0.0.0.0/8") // what was not read is of nobody
	both := func(change func(frame) frame, payload []byte, protocol byte) exchange {
		x := exchanged(nodeHere, nodePeer, protocol, payload)
		return exchange{change(x.received), change(x.sent)}
	}
	both6 := func(change func(frame) frame, payload []byte, protocol byte) exchange {
		x := exchanged(nodeHere6, nodePeer6, protocol, payload)
		return exchange{change(x.received), change(x.sent)}
	}
	short := func(n int) func(frame) frame { return func(f frame) frame { return f[:14+n] } }
	first := func(b byte) func(frame) frame { return func(f frame) frame { return f.with(14, b) } }
	whole := func(f frame) frame { return f }
	kubelet := tcp(10250, 10250, flagACK, 9)
	for name, x := range map[string]exchange{
		"a version of 6 in IPv4":     both(first(0x65), kubelet, protocolTCP),
		"a header of 16 bytes":       both(first(0x44), kubelet, protocolTCP),
		"a version of 4 in IPv6":     both6(first(0x40), kubelet, protocolTCP),
		"no ports":                   both(short(20), kubelet, protocolTCP),
		"half the ports":             both(short(23), kubelet, protocolTCP),
		"no ports, IPv6":             both6(short(40), kubelet, protocolTCP),
		"options beyond the end":     both(func(f frame) frame { return f.with(14, 0x4f)[:14+24] }, kubelet, protocolTCP),
		"an error without its type":  both(short(20), icmp(3), protocolICMP),
		"half an extension":          both6(whole, extension(protocolTCP, nil)[:4], 60),
		"an extension that ends far": both6(whole, []byte{protocolTCP, 255, 0, 0, 0, 0, 0, 0}, 60),
		"no DHCP behind its header":  both(short(20+3), udp(68, 67, 9), protocolUDP),
	} {
		t.Run(name, func(t *testing.T) { e.judged(t, x, "") })
	}
}

// Every list at its longest fits into the programs.
func TestQuarantineOfANodeTakesEveryPrefix(t *testing.T) {
	var o VerdictOptions
	for i := range MaxPrefixes {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16)
		p6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, byte(i)}), 16)
		list := []*[]netip.Prefix{&o.Management, &o.Peers, &o.Allowed}[i%3]
		*list = append(*list, p, p6)
	}
	e := aVerdict(t, o, notLoopback, "isolate_received", "isolate_sent")
	e.judged(t, serving(nodeHere, "10.63.0.9", protocolTCP, 22), "passed.never_cut") // of management, and the last
	e.judged(t, serving(nodeHere6, "fd3f::9", protocolTCP, 22), "passed.never_cut")
	o.Peers = append(o.Peers, netip.MustParsePrefix("192.0.2.0/24"))
	_, err := prepareVerdict(o, nil, "isolate_received", "isolate_sent")
	require.ErrorContains(t, err, "join some")
}
