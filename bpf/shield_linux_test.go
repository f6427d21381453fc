// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	xdpDrop = 1
	xdpPass = 2
)

// bootAfter is a deadline.
func bootAfter(t testing.TB, d time.Duration) int64 {
	t.Helper()
	var now unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	return now.Nano() + int64(d)
}

func aShield(t testing.TB, change func(*ShieldOptions)) *Enforcement {
	t.Helper()
	o := ShieldOptions{
		Rate: 100, Aggregate: 20000, Deadline: bootAfter(t, time.Minute),
		Management: prefixesOf("192.0.2.0/24", "2001:db8:1::/48"), Peers: prefixesOf("10.0.0.0/8", "fd00:10::/32"),
	}
	if change != nil {
		change(&o)
	}
	e, err := prepareShield(o)
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// exhausted is a shield on which nobody has any credit: what passes does so by a
// rule, for a packet costs more than any bucket holds.
func exhausted(t testing.TB, change func(*ShieldOptions)) *Enforcement {
	t.Helper()
	e := aShield(t, change)
	state, err := mapArray[shieldShieldState](e.loaded.Maps["state"])
	require.NoError(t, err)
	defer func() { require.NoError(t, state.close()) }()
	s := &state.values[0]
	s.SourceCost, s.KnownCost, s.NewcomerCost = 1<<50, 1<<50, 1<<50
	return e
}

func TestWhatIsNeverCut(t *testing.T) {
	const (
		here, here6     = "198.51.100.1", "2001:db8::1"
		peer, peer6     = "10.1.2.3", "fd00:10::7"
		admin, admin6   = "192.0.2.7", "2001:db8:1::7"
		anybody, other6 = "203.0.113.5", "2001:db8:bad::5"
	)
	type vector struct {
		name   string
		frame  frame
		reason string // "" is dropped
	}
	both := func(name string, payload []byte, protocol byte, from, from6, reason string) []vector {
		return []vector{
			{name + ", IPv4", packet(from, here, protocol, payload), reason},
			{name + ", IPv6", packet(from6, here6, protocol, payload), reason},
		}
	}
	vectors := []vector{
		{"ARP", ethernet(0x0806, make([]byte, 28)), "passed.link"},
		{"LLDP", ethernet(0x88cc, make([]byte, 46)), "passed.link"},
		{"LACP", ethernet(0x8809, make([]byte, 46)), "passed.link"},
		{"EAPOL", ethernet(0x888e, make([]byte, 46)), "passed.link"},
		{"spanning tree, whose type is a length", ethernet(38, make([]byte, 46)), "passed.link"},
		{"neighbour solicitation", packet("fe80::1", here6, protocolICMPv6, icmp(135)).hops(255), "passed.link"},
		{"router advertisement", packet("fe80::1", "ff02::1", protocolICMPv6, icmp(134)).hops(255), "passed.link"},
		{"redirect", packet("fe80::1", here6, protocolICMPv6, icmp(137)).hops(255), "passed.link"},
		{"neighbour discovery that a router forwarded", packet(other6, here6, protocolICMPv6, icmp(135)).hops(254), ""},
		{"ping, IPv6", packet(other6, here6, protocolICMPv6, icmp(128)).hops(255), ""},
		{"ping, IPv4", packet(anybody, here, protocolICMP, icmp(8)), ""},
		{"fragmentation needed", packet(anybody, here, protocolICMP, icmp(3)), "passed.never_cut"},
		{"time exceeded", packet(anybody, here, protocolICMP, icmp(11)), "passed.never_cut"},
		{"parameter problem", packet(anybody, here, protocolICMP, icmp(12)), "passed.never_cut"},
		{"ICMP redirect of IPv4", packet(anybody, here, protocolICMP, icmp(5)), ""},
		{"unreachable, IPv6", packet(other6, here6, protocolICMPv6, icmp(1)), "passed.never_cut"},
		{"packet too big", packet(other6, here6, protocolICMPv6, icmp(2)), "passed.never_cut"},
		{"an IPv6 number of ICMP in IPv4", packet(anybody, here, protocolICMPv6, icmp(2)), ""},
		{"DHCP offer", packet(anybody, "255.255.255.255", protocolUDP, udp(67, 68, 240)), "passed.never_cut"},
		{"DHCP discovery", packet("0.0.0.0", "255.255.255.255", protocolUDP, udp(68, 67, 240)), "passed.never_cut"},
		{"DHCPv6 of the link", packet("fe80::2", "fe80::1", protocolUDP, udp(547, 546, 60)), "passed.link"},
		{"DHCPv6 by a relay", packet(other6, here6, protocolUDP, udp(547, 547, 60)), "passed.never_cut"},
		{"DHCP's ports in TCP", packet(anybody, here, protocolTCP, tcp(67, 68, flagSYN, 0)), ""},
		{"metadata", packet("169.254.169.254", here, protocolTCP, tcp(80, 40000, flagSYN|flagACK, 0)), "passed.never_cut"},
		{"metadata, IPv6", packet("fd00:ec2::254", here6, protocolTCP, tcp(80, 40000, flagSYN|flagACK, 0)), "passed.never_cut"},
		{"beside the metadata address", packet("169.254.169.253", here, protocolTCP, tcp(80, 40000, flagSYN|flagACK, 0)), ""},
		{"a fragment of a peer", fragment4(packet(peer, here, protocolUDP, udp(9, 9, 64)), 100), "passed.never_cut"},
		{"a fragment of anybody", fragment4(packet(anybody, here, protocolUDP, udp(9, 9, 64)), 100), ""},
		{"a fragment that looks like DHCP", fragment4(packet(anybody, here, protocolUDP, udp(67, 68, 64)), 100), ""},
		{"SSH of a peer that no operator uses", packet(peer, here, protocolTCP, tcp(40000, 22, flagSYN, 0)), ""},
		{"a port that is nobody's, of a peer", packet(peer, here, protocolTCP, tcp(40000, 8080, flagSYN, 0)), ""},
		{"a kubelet's port in UDP", packet(peer, here, protocolUDP, udp(40000, 10250, 9)), ""},
	}
	vectors = append(vectors, both("SSH of an operator", tcp(40000, 22, flagSYN, 0), protocolTCP, admin, admin6, "passed.never_cut")...)
	vectors = append(vectors, both("SSH of anybody", tcp(40000, 22, flagSYN, 0), protocolTCP, anybody, other6, "")...)
	for name, ports := range map[string][]uint16{
		"BGP": {179}, "etcd": {2379, 2380}, "API server": {6443}, "kubelet": {10250}, "health of kube-proxy": {10256},
	} {
		for _, port := range ports {
			vectors = append(vectors, both(name, tcp(40000, port, flagSYN, 0), protocolTCP, peer, peer6, "passed.never_cut")...)
			vectors = append(vectors, both(name+" of anybody", tcp(40000, port, flagSYN, 0), protocolTCP, anybody, other6, "")...)
		}
	}
	for name, ports := range map[string][]uint16{
		"BGP": {179}, "etcd": {2379, 2380}, "API server": {6443}, "kubelet": {10250}, "DNS by TCP": {53},
		"NFS": {2049}, "iSCSI": {3260}, "NVMe": {4420, 8009}, "OTLP": {4317, 4318},
	} {
		for _, port := range ports {
			vectors = append(vectors, both(name+" answers", tcp(port, 40000, flagSYN|flagACK, 0), protocolTCP, peer, peer6, "passed.never_cut")...)
			vectors = append(vectors, both(name+" answers of anybody", tcp(port, 40000, flagSYN|flagACK, 0), protocolTCP, anybody, other6, "")...)
		}
	}
	for name, ports := range map[string][2]uint16{
		"VXLAN": {40000, 4789}, "VXLAN of Linux": {40000, 8472}, "Geneve": {40000, 6081},
		"DNS answers": {53, 40000}, "NTP answers": {123, 123}, "NFS by UDP answers": {2049, 800},
	} {
		vectors = append(vectors, both(name, udp(ports[0], ports[1], 40), protocolUDP, peer, peer6, "passed.never_cut")...)
		vectors = append(vectors, both(name+" of anybody", udp(ports[0], ports[1], 40), protocolUDP, anybody, other6, "")...)
	}
	e := exhausted(t, nil)
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			for tags, f := range map[string]frame{"": v.frame, "one tag": v.frame.tagged(typeVLAN), "two tags": v.frame.tagged(typeQinQ, typeVLAN)} {
				want, reason := uint32(xdpPass), v.reason
				if reason == "" {
					want, reason = xdpDrop, "dropped.new"
				}
				before := e.counted(t)[reason]
				assert.Equal(t, want, e.give(t, "shield", f), tags)
				assert.Equal(t, before+1, e.counted(t)[reason], tags)
			}
		})
	}
}

// fragment4 makes a frame one of the later fragments of an IPv4 datagram.
func fragment4(f frame, offset uint16) frame {
	out := append(frame{}, f...)
	binary.BigEndian.PutUint16(out[14+6:], offset)
	return out
}

func TestReservesAreFinite(t *testing.T) {
	e := exhausted(t, nil)
	f := packet("203.0.113.5", "198.51.100.1", protocolICMP, icmp(3))
	for range 1000 {
		e.give(t, "shield", f)
	}
	counts := e.counted(t)
	assert.Less(t, counts["passed.never_cut"], uint64(500), "of %v", counts)
	assert.GreaterOrEqual(t, counts["passed.never_cut"], uint64(reserveRate/10-1), "of %v", counts)
	assert.Positive(t, counts["dropped.new"])
}

func TestAFrameThatCannotBeReadIsANewcomers(t *testing.T) {
	udp4 := packet("203.0.113.5", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	udp6 := packet("2001:db8:bad::5", "2001:db8::1", protocolUDP, udp(1, 2, 64))
	for name, tc := range map[string]struct {
		frame frame
		// source says that its source can be read.
		source bool
	}{
		"an empty frame":                   {udp4[:14], false},
		"half an IPv4 header":              {udp4[:14+19], false},
		"half an IPv6 header":              {udp6[:14+39], false},
		"IPv4 of version 6":                {udp4.with(14, 0x65), false},
		"an IPv4 header of 16 bytes":       {udp4.with(14, 0x44), false},
		"IPv6 of version 4":                {udp6.with(14, 0x40), false},
		"half a VLAN tag":                  {udp4.tagged(typeVLAN)[:16], false},
		"three VLAN tags":                  {udp4.tagged(typeQinQ, typeVLAN, typeVLAN), false},
		"MPLS":                             {ethernet(0x8847, make([]byte, 46)), false},
		"options beyond the end":           {udp4.with(14, 0x4f)[:14+24], true},
		"no ports":                         {udp4[:14+20], true},
		"half the ports":                   {udp4[:14+23], true},
		"an extension header beyond":       {packet("2001:db8:bad::5", "2001:db8::1", 60, extension(17, nil)[:4]), true},
		"an extension that ends elsewhere": {packet("2001:db8:bad::5", "2001:db8::1", 60, []byte{17, 255, 0, 0, 0, 0, 0, 0}), true},
	} {
		t.Run(name, func(t *testing.T) {
			e := exhausted(t, nil)
			assert.Equal(t, uint32(xdpDrop), e.give(t, "shield", tc.frame), "over the budget")
			reason := "unparsed"
			if tc.source {
				reason = "new"
			}
			assert.Equal(t, map[string]uint64{"dropped." + reason: 1}, e.counted(t))

			e = aShield(t, nil)
			assert.Equal(t, uint32(xdpPass), e.give(t, "shield", tc.frame), "within the budget")
			assert.Equal(t, map[string]uint64{"passed.new": 1}, e.counted(t))
		})
	}
}

func TestExtensionHeadersHideNoPorts(t *testing.T) {
	const peer, here = "fd00:10::7", "2001:db8::1"
	dns := udp(53, 40000, 40)
	chain := func(kinds ...byte) []byte {
		payload := dns
		next := byte(protocolUDP)
		for i := len(kinds) - 1; i >= 0; i-- {
			payload, next = extension(next, payload), kinds[i]
		}
		return payload
	}
	for name, tc := range map[string]struct {
		frame frame
		pass  bool
	}{
		"hop by hop":                    {packet(peer, here, 0, chain(0)), true},
		"routing":                       {packet(peer, here, 43, chain(43)), true},
		"destination":                   {packet(peer, here, 60, chain(60)), true},
		"mobility":                      {packet(peer, here, 135, chain(135)), true},
		"a first fragment":              {packet(peer, here, 44, chain(44)), true},
		"authentication of 16 bytes":    {packet(peer, here, 51, append([]byte{17, 2}, append(make([]byte, 14), dns...)...)), true},
		"a long one":                    {packet(peer, here, 60, append([]byte{17, 2}, append(make([]byte, 22), dns...)...)), true},
		"six of them":                   {packet(peer, here, 0, chain(0, 60, 43, 60, 60, 44)), true},
		"seven: nobody needs as many":   {packet(peer, here, 0, chain(0, 60, 43, 60, 60, 60, 44)), false},
		"a later fragment, by its peer": {packet(peer, here, 44, []byte{17, 0, 0, 8, 0, 0, 0, 0, 1, 2, 3, 4}), true},
		"a later fragment of anybody":   {packet("2001:db8:bad::5", here, 44, []byte{17, 0, 0, 8, 0, 0, 0, 0, 0, 53, 3, 4}), false},
		"an error behind one":           {packet("2001:db8:bad::5", here, 0, extension(protocolICMPv6, icmp(2))), true},
	} {
		t.Run(name, func(t *testing.T) {
			e := exhausted(t, nil)
			assert.Equal(t, tc.pass, e.give(t, "shield", tc.frame) == xdpPass, "%v", e.counted(t))
		})
	}
}

func TestSessionsOfBeforeAreKept(t *testing.T) {
	session := func(remote string, local uint16) Session {
		return Session{Remote: netip.MustParseAddrPort(remote), LocalPort: local}
	}
	shield := func(o *ShieldOptions) {
		o.Sessions = []Session{session("203.0.113.5:40000", 8080), session("[2001:db8:bad::5]:40000", 8080)}
	}
	for name, tc := range map[string]struct {
		frame frame
		pass  bool
	}{
		"IPv4":            {packet("203.0.113.5", "198.51.100.1", protocolTCP, tcp(40000, 8080, flagACK, 100)), true},
		"IPv6":            {packet("2001:db8:bad::5", "2001:db8::1", protocolTCP, tcp(40000, 8080, flagACK, 100)), true},
		"another port":    {packet("203.0.113.5", "198.51.100.1", protocolTCP, tcp(40001, 8080, flagACK, 100)), false},
		"another service": {packet("203.0.113.5", "198.51.100.1", protocolTCP, tcp(40000, 8081, flagACK, 100)), false},
		"another source":  {packet("203.0.113.6", "198.51.100.1", protocolTCP, tcp(40000, 8080, flagACK, 100)), false},
		"a new beginning": {packet("203.0.113.5", "198.51.100.1", protocolTCP, tcp(40000, 8080, flagSYN, 0)), false},
		"UDP":             {packet("203.0.113.5", "198.51.100.1", protocolUDP, udp(40000, 8080, 100)), false},
		"in a VLAN":       {packet("203.0.113.5", "198.51.100.1", protocolTCP, tcp(40000, 8080, flagACK, 100)).tagged(typeVLAN), true},
	} {
		t.Run(name, func(t *testing.T) {
			e := exhausted(t, shield)
			require.Equal(t, tc.pass, e.give(t, "shield", tc.frame) == xdpPass)
			if tc.pass {
				assert.Equal(t, map[string]uint64{"passed.session": 1}, e.counted(t))
			}
		})
	}
}

func TestAPrefixWithinAnotherServesBoth(t *testing.T) {
	e := exhausted(t, func(o *ShieldOptions) {
		o.Management, o.Peers = prefixesOf("10.1.0.0/16"), prefixesOf("10.0.0.0/8", "10.1.2.0/24")
	})
	for _, port := range []uint16{22, 10250} {
		assert.Equal(t, uint32(xdpPass), e.give(t, "shield", packet("10.1.2.3", "198.51.100.1", protocolTCP, tcp(40000, port, flagSYN, 0))), port)
	}
	assert.Equal(t, uint32(xdpDrop), e.give(t, "shield", packet("10.2.2.3", "198.51.100.1", protocolTCP, tcp(40000, 22, flagSYN, 0))))
}

func TestPastItsDeadlineAShieldLetsEverythingPass(t *testing.T) {
	e := exhausted(t, nil)
	flood := packet("203.0.113.5", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	require.Equal(t, uint32(xdpDrop), e.give(t, "shield", flood))
	rate := uint64(100)
	e.limit = func(uint64) {} // and keep the costs
	require.NoError(t, e.Renew(rate, bootAfter(t, 50*time.Millisecond)))
	require.Eventually(t, func() bool { return e.give(t, "shield", flood) == xdpPass }, 5*time.Second, time.Millisecond)
	assert.Positive(t, e.counted(t)["expired"])
	require.NoError(t, e.Renew(rate, bootAfter(t, time.Minute)))
	assert.Equal(t, uint32(xdpDrop), e.give(t, "shield", flood), "renewed")
	require.NoError(t, e.Renew(rate, bootAfter(t, -time.Hour*24*365)))
	assert.Equal(t, uint32(xdpPass), e.give(t, "shield", flood), "long past")
}

// One source gets its rate, and another one is not touched by that.
func TestASourceHasItsRate(t *testing.T) {
	e := aShield(t, func(o *ShieldOptions) { o.Rate = 1000 })
	flood := packet("203.0.113.5", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	began, sent := time.Now(), 0
	for time.Since(began) < 500*time.Millisecond {
		e.give(t, "shield", flood)
		sent++
	}
	elapsed := time.Since(began).Seconds()
	counts := e.counted(t)
	passed := float64(counts["passed.known"] + counts["passed.new"])
	t.Logf("%d sent in %.2f s, %v", sent, elapsed, counts)
	// Credit is lost where the machine lets the test wait for longer than a burst.
	assert.LessOrEqual(t, passed, 1000*(elapsed+0.11)+1, "the rate, and the burst of a tenth of a second")
	assert.GreaterOrEqual(t, passed, min(1000*elapsed, float64(sent))/2) // a slow machine sends less than that
	quiet := packet("203.0.113.6", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	assert.Equal(t, uint32(xdpPass), e.give(t, "shield", quiet))
	same := packet("2001:db8:bad::5", "2001:db8::1", protocolUDP, udp(1, 2, 64))
	for range 2000 {
		e.give(t, "shield", same)
	}
	before := e.counted(t)["dropped.source"]
	e.give(t, "shield", packet("2001:db8:bad::6:5", "2001:db8::1", protocolUDP, udp(1, 2, 64)))
	assert.Equal(t, before+1, e.counted(t)["dropped.source"], "one /64 is one source")
}

// A flood from 64 k sources, each of which is new or sends little, passes no more
// than all sources may together, in a table that does not grow.
func TestAFloodOfSpoofedSourcesIsBounded(t *testing.T) {
	const spoofed, aggregate = 1 << 16, 2000
	e := aShield(t, func(o *ShieldOptions) { o.Aggregate, o.Sources = aggregate, 1024 })
	before, known := memoryOf(t, e)
	flood := packet("100.64.0.0", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	began := time.Now()
	for i := range uint32(2 * spoofed) {
		binary.BigEndian.PutUint32(flood[14+12:], 100<<24|64<<16+i%spoofed)
		e.give(t, "shield", flood)
	}
	elapsed := time.Since(began).Seconds()
	counts := e.counted(t)
	t.Logf("%d packets of %d sources in %.2f s: %v", 2*spoofed, spoofed, elapsed, counts)
	passed := float64(counts["passed.new"] + counts["passed.known"])
	assert.LessOrEqual(t, passed, aggregate*(elapsed+0.1)+10)
	assert.Positive(t, counts["passed.new"])
	assert.Positive(t, counts["dropped.new"])
	after, _ := memoryOf(t, e)
	if known {
		assert.Equal(t, before, after, "bytes of the table")
	}
	entries := 0
	var key, value uint64
	for all := e.loaded.Maps["sources"].Iterate(); all.Next(&key, &value); {
		entries++
	}
	assert.LessOrEqual(t, entries, 1024+128, "the kernel rounds up by CPU")
	assert.Positive(t, entries)
}

// memoryOf is what the kernel says the table of sources takes.
func memoryOf(t testing.TB, e *Enforcement) (uint64, bool) {
	t.Helper()
	info, err := e.loaded.Maps["sources"].Info()
	require.NoError(t, err)
	return info.Memlock()
}

// Sources that are known, and keep to their rate each, have a bound together.
func TestKnownSourcesHaveABoundTogether(t *testing.T) {
	const sources, aggregate = 4096, 2000
	e := aShield(t, func(o *ShieldOptions) { o.Rate, o.Aggregate = 1000, aggregate })
	flood := packet("100.64.0.0", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	for i := range uint32(sources) {
		binary.BigEndian.PutUint32(flood[14+12:], 100<<24|64<<16+i)
		require.NoError(t, e.loaded.Maps["sources"].Put(binary.NativeEndian.Uint64(append(make([]byte, 2, 8), append([]byte{0xff, 0xff}, flood[26:30]...)...)), uint64(0)))
	}
	began := time.Now()
	for i := range uint32(4 * sources) {
		binary.BigEndian.PutUint32(flood[14+12:], 100<<24|64<<16+i%sources)
		e.give(t, "shield", flood)
	}
	elapsed := time.Since(began).Seconds()
	counts := e.counted(t)
	t.Logf("%.2f s, %v", elapsed, counts)
	assert.LessOrEqual(t, float64(counts["passed.known"]), aggregate/2*(elapsed+0.11)+1)
	assert.Positive(t, counts["passed.known"])
	assert.Positive(t, counts["dropped.aggregate"])
	assert.Zero(t, counts["passed.new"])
}

// A flood of new sources leaves those that are known their share.
func TestKnownSourcesAreNotStarvedByNewcomers(t *testing.T) {
	e := aShield(t, func(o *ShieldOptions) { o.Rate, o.Aggregate = 1000, 2000 })
	known := packet("203.0.113.5", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	require.Equal(t, uint32(xdpPass), e.give(t, "shield", known))
	flood := packet("100.64.0.0", "198.51.100.1", protocolUDP, udp(1, 2, 64))
	for i := range uint32(20000) {
		binary.BigEndian.PutUint32(flood[14+12:], 100<<24|64<<16+i)
		e.give(t, "shield", flood)
	}
	require.Positive(t, e.counted(t)["dropped.new"])
	assert.Equal(t, uint32(xdpPass), e.give(t, "shield", known))
}
