// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What programs on a cgroup's packets answer.
const (
	skbDrop = iota
	skbPass
	skbDropCongested
	skbPassCongested
)

// notLoopback: PROG_TEST_RUN gives every packet the loopback interface.
func notLoopback(s *ebpf.CollectionSpec) error { return s.Variables["loopback"].Set(^uint32(0)) }

func aVerdict(t testing.TB, o VerdictOptions, adapt func(*ebpf.CollectionSpec) error, programs ...string) *Enforcement {
	t.Helper()
	if o.Deadline == 0 {
		o.Deadline = bootAfter(t, time.Minute)
	}
	e, err := prepareVerdict(o, adapt, programs...)
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// exchange is a packet with the far end and what carries it, the way it goes.
type exchange struct{ received, sent frame }

func exchanged(here, there string, protocol byte, payload []byte) exchange {
	return exchange{packet(there, here, protocol, payload), packet(here, there, protocol, payload)}
}

func (x exchange) hops(n byte) exchange { return exchange{x.received.hops(n), x.sent.hops(n)} }

func TestQuarantinePassesOnlyWhatIsNeverCut(t *testing.T) {
	const here, here6 = "198.51.100.1", "2001:db8::1"
	e := aVerdict(t, VerdictOptions{Allowed: prefixesOf("192.0.2.0/24", "2001:db8:1::/48")}, notLoopback, "deny_received", "deny_sent")
	for name, tc := range map[string]struct {
		exchange
		reason string // "" is dropped
	}{
		"TCP":                  {exchanged(here, "203.0.113.5", protocolTCP, tcp(40000, 443, flagACK, 100)), ""},
		"TCP, IPv6":            {exchanged(here6, "2001:db8:bad::5", protocolTCP, tcp(40000, 443, flagACK, 100)), ""},
		"DNS":                  {exchanged(here, "203.0.113.53", protocolUDP, udp(53, 53, 40)), ""},
		"DNS, IPv6":            {exchanged(here6, "2001:db8:bad::53", protocolUDP, udp(53, 53, 40)), ""},
		"the metadata address": {exchanged(here, "169.254.169.254", protocolTCP, tcp(40000, 80, flagSYN, 0)), ""},
		"ping":                 {exchanged(here, "203.0.113.5", protocolICMP, icmp(8)), ""},
		"ping, IPv6":           {exchanged(here6, "2001:db8:bad::5", protocolICMPv6, icmp(128)), ""},
		"unreachable":          {exchanged(here, "203.0.113.5", protocolICMP, icmp(3)), "passed.never_cut"},
		"time exceeded":        {exchanged(here, "203.0.113.5", protocolICMP, icmp(11)), "passed.never_cut"},
		"parameter problem":    {exchanged(here, "203.0.113.5", protocolICMP, icmp(12)), "passed.never_cut"},
		"packet too big":       {exchanged(here6, "2001:db8:bad::5", protocolICMPv6, icmp(2)), "passed.never_cut"},
		"solicitation":         {exchanged(here6, "fe80::2", protocolICMPv6, icmp(135)).hops(255), "passed.never_cut"},
		"advertisement":        {exchanged(here6, "fe80::2", protocolICMPv6, icmp(136)).hops(255), "passed.never_cut"},
		"from beyond the link": {exchanged(here6, "2001:db8:bad::2", protocolICMPv6, icmp(136)).hops(64), ""},
		"allowed":              {exchanged(here, "192.0.2.9", protocolTCP, tcp(40000, 4317, flagSYN, 0)), "passed.allowed"},
		"allowed, IPv6":        {exchanged(here6, "2001:db8:1::9", protocolUDP, udp(1, 2, 3)), "passed.allowed"},
		"a fragment, allowed":  {exchange{fragment4(packet("192.0.2.9", here, 17, nil), 100), fragment4(packet(here, "192.0.2.9", 17, nil), 100)}, "passed.allowed"},
		"a fragment":           {exchange{fragment4(packet("203.0.113.5", here, 1, icmp(3)), 100), fragment4(packet(here, "203.0.113.5", 1, icmp(3)), 100)}, ""},
		"from what is allowed": {exchange{packet(here, "192.0.2.9", protocolUDP, udp(1, 2, 3)), packet("192.0.2.9", here, protocolUDP, udp(1, 2, 3))}, ""},
		"cut off":              {exchange{packet("203.0.113.5", here, protocolICMP, nil), packet(here, "203.0.113.5", protocolTCP, nil)}, ""},
		"an error behind headers": {exchange{
			packet("2001:db8:bad::5", here6, 0, extension(60, extension(protocolICMPv6, icmp(2)))),
			packet(here6, "2001:db8:bad::5", 0, extension(60, extension(protocolICMPv6, icmp(2)))),
		}, "passed.never_cut"},
		"malformed": {exchange{packet("203.0.113.5", here, protocolICMP, icmp(3)).with(14, 0x43), packet(here, "203.0.113.5", protocolICMP, icmp(3)).with(14, 0x43)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for program, f := range map[string]frame{"deny_received": tc.received, "deny_sent": tc.sent} {
				want, reason := uint32(skbPass), tc.reason
				if reason == "" {
					want, reason = skbDrop, "dropped.denied"
				}
				before := e.counted(t)[reason]
				assert.Equal(t, want, e.give(t, program, f), program)
				assert.Equal(t, before+1, e.counted(t)[reason], program)
			}
		})
	}
}

func TestLoopbackIsNeverCut(t *testing.T) {
	x := exchanged("203.0.113.1", "203.0.113.5", protocolTCP, tcp(40000, 443, flagACK, 100))
	for _, programs := range [][]string{{"deny_received", "deny_sent"}, {"isolate_received", "isolate_sent"}} {
		e := aVerdict(t, VerdictOptions{}, nil, programs...)
		assert.Equal(t, uint32(skbPass), e.give(t, programs[0], x.received))
		assert.Equal(t, uint32(skbPass), e.give(t, programs[1], x.sent))
		assert.Equal(t, map[string]uint64{"passed.loopback": 2}, e.counted(t))
	}
	e := aVerdict(t, VerdictOptions{Rate: 1}, nil, "throttle_received", "throttle_sent")
	for range 10 {
		assert.Equal(t, uint32(skbPass), e.give(t, "throttle_sent", x.sent))
	}
	assert.Equal(t, map[string]uint64{"passed.loopback": 10}, e.counted(t))
}

func TestPastTheirDeadlineProgramsLetEverythingPass(t *testing.T) {
	x := exchanged("198.51.100.1", "203.0.113.5", protocolUDP, udp(1, 2, 1000))
	for _, programs := range [][]string{{"deny_received", "deny_sent"}, {"throttle_received", "throttle_sent"}, {"isolate_received", "isolate_sent"}} {
		e := aVerdict(t, VerdictOptions{Rate: 1}, notLoopback, programs...)
		for range 2 { // the first of a bucket may pass
			e.give(t, programs[0], x.received)
			e.give(t, programs[1], x.sent)
		}
		require.Equal(t, uint32(skbDrop), e.give(t, programs[0], x.received))
		require.Contains(t, []uint32{skbDrop, skbDropCongested}, e.give(t, programs[1], x.sent))
		require.NoError(t, e.Renew(1, bootAfter(t, 20*time.Millisecond)))
		require.Eventually(t, func() bool { return e.give(t, programs[0], x.received) == skbPass }, 5*time.Second, time.Millisecond)
		assert.Equal(t, uint32(skbPass), e.give(t, programs[1], x.sent))
		assert.GreaterOrEqual(t, e.counted(t)["expired"], uint64(2))
		require.NoError(t, e.Renew(1, bootAfter(t, time.Minute)))
		assert.Equal(t, uint32(skbDrop), e.give(t, programs[0], x.received), "renewed")
	}
}

func TestAThrottleHasItsRateEachWay(t *testing.T) {
	const rate, size = 1 << 20, 20 + 8 + 1000
	e := aVerdict(t, VerdictOptions{Rate: rate}, notLoopback, "throttle_received", "throttle_sent")
	x := exchanged("198.51.100.1", "203.0.113.5", protocolUDP, udp(1, 2, 1000))
	passed := map[string]int{}
	began := time.Now()
	sent := 0
	for ; time.Since(began) < 500*time.Millisecond; sent++ {
		for program, f := range map[string]frame{"throttle_received": x.received, "throttle_sent": x.sent} {
			if a := e.give(t, program, f); a == skbPass || a == skbPassCongested {
				passed[program]++
			}
		}
	}
	elapsed := time.Since(began).Seconds()
	for program, n := range passed {
		// Credit is lost where the machine lets the test wait for longer than a burst.
		assert.LessOrEqual(t, float64(n*size), rate*(elapsed+0.11)+size, program)
		assert.GreaterOrEqual(t, float64(n*size), min(rate*elapsed, float64(sent*size))/2, program)
	}
	if float64(sent*size) > 2*rate*(elapsed+0.2) { // a slow machine sends less than that
		assert.Positive(t, e.counted(t)["dropped.rate"])
	}
}

func TestAThrottleTellsSendersToSlowDown(t *testing.T) {
	e := aVerdict(t, VerdictOptions{Rate: 100_000}, notLoopback, "throttle_received", "throttle_sent")
	f := exchanged("198.51.100.1", "203.0.113.5", protocolTCP, tcp(40000, 443, flagACK, 960)).sent // 1000 bytes: ten to a burst
	var answers []uint32
	for range 14 {
		answers = append(answers, e.give(t, "throttle_sent", f))
	}
	assert.Equal(t, uint32(skbPass), answers[0])
	assert.Equal(t, uint32(skbPassCongested), answers[8])
	assert.Equal(t, uint32(skbDropCongested), answers[13])
	assert.IsNonDecreasing(t, []int{indexOf(answers, skbPass), indexOf(answers, skbPassCongested), indexOf(answers, skbDropCongested)})
}

func indexOf(answers []uint32, answer uint32) int {
	for i, a := range answers {
		if a == answer {
			return i
		}
	}
	return -1
}

// A bunch of segments is larger than what a slow bucket ever holds.
func TestAThrottleLetsLargePacketsPassOneAtATime(t *testing.T) {
	e := aVerdict(t, VerdictOptions{Rate: 1000}, notLoopback, "throttle_received", "throttle_sent")
	f := exchanged("198.51.100.1", "203.0.113.5", protocolUDP, udp(1, 2, 2000)).received
	assert.Equal(t, uint32(skbPass), e.give(t, "throttle_received", f))
	assert.Equal(t, uint32(skbDrop), e.give(t, "throttle_received", f), "it owes two seconds")
}

// Sessions that are there are slowed down and stay: what acknowledges and closes
// passes on credit, which is paid back.
func TestAThrottleKeepsSessions(t *testing.T) {
	const here, there = "198.51.100.1", "203.0.113.5"
	e := aVerdict(t, VerdictOptions{Rate: 10_000, Allowed: prefixesOf("192.0.2.0/24")}, notLoopback, "throttle_received", "throttle_sent")
	data := exchanged(here, there, protocolTCP, tcp(40000, 443, flagACK, 1400))
	for range 3 {
		e.give(t, "throttle_received", data.received)
	}
	for name, tc := range map[string]struct {
		frame  frame
		reason string // "" is dropped
	}{
		"data":             {data.received, ""},
		"acknowledgement":  {exchanged(here, there, protocolTCP, tcp(40000, 443, flagACK, 0)).received, "passed.session"},
		"the end":          {exchanged(here, there, protocolTCP, tcp(40000, 443, 0x11, 0)).received, "passed.session"},
		"a beginning":      {exchanged(here, there, protocolTCP, tcp(40000, 443, flagSYN, 0)).received, ""},
		"a small datagram": {exchanged(here, there, protocolUDP, udp(40000, 443, 0)).received, ""},
		"no flags at all":  {exchanged(here, there, protocolTCP, tcp(40000, 443, 0, 0)).received, ""},
		"an error":         {exchanged(here, there, protocolICMP, icmp(3)).received, "passed.never_cut"},
		"allowed":          {exchanged(here, "192.0.2.1", protocolUDP, udp(1, 2, 1400)).received, "passed.allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			want, reason := uint32(skbPass), tc.reason
			if reason == "" {
				want, reason = skbDrop, "dropped.rate"
			}
			before := e.counted(t)[reason]
			assert.Equal(t, want, e.give(t, "throttle_received", tc.frame))
			assert.Equal(t, before+1, e.counted(t)[reason])
		})
	}
	ack := exchanged(here, there, protocolTCP, tcp(40000, 443, flagACK, 0)).received
	for range 1000 {
		e.give(t, "throttle_received", ack)
	}
	assert.Less(t, e.counted(t)["passed.session"], uint64(400), "credit ends after a second's worth")
}
