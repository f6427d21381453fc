// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/extension/reflexextension"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/guard/guardtest"
)

// cameFrom has this session come from an address, "" for none.
func cameFrom(t *testing.T, address string, port uint16) {
	t.Helper()
	before := sessionOf
	t.Cleanup(func() { sessionOf = before })
	from, err := netip.ParseAddr(address)
	sessionOf = func() (netip.Addr, uint16, bool) { return from, port, err == nil }
}

func prefixesOf(text ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range text {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func TestANodeIsToldWhyItIsNotCutOff(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the guard takes it from root only")
	}
	cameFrom(t, "", 0)
	for name, tc := range map[string]struct {
		network guard.Network
		other   int
		args    []string
		want    string
	}{
		"a collector that is root": {guard.Network{Quarantine: true}, 0, nil, "start the guard with --uid"},
		"not permitted":            {guard.Network{}, 61234, nil, "start the guard with --allow-quarantine"},
		"no way in":                {guard.Network{Quarantine: true}, 61234, nil, "start the guard with --management"},
		"none wanted":              {guard.Network{Quarantine: true}, 61234, []string{"--without-a-way-in"}, "answers failed: network.quarantine.node of /"}, // plain files
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.network, n.other = tc.network, tc.other
			n.guard().collector()
			text, err := n.run(append([]string{"quarantine", "--node", "--for", "10m"}, tc.args...)...)
			require.ErrorContains(t, err, "quarantine the node: ")
			require.ErrorContains(t, err, tc.want)
			require.ErrorIs(t, err, errNeverHeld)
			assert.NotContains(t, text, "is cut off")
			assert.Empty(t, n.got(), "what was not done is not on the record")
			s := n.g.Status()
			last := s.Audit[len(s.Audit)-1]
			assert.Equal(t, "network.quarantine.node", last.Action)
			assert.Equal(t, "by an operator (uid 0): ", last.Reason)
		})
	}
}

func TestAQuarantineIsOfOneThingAndBounded(t *testing.T) {
	n := newNode(t).guard()
	for want, args := range map[string][]string{
		"[cgroup node] were all set":             {"--node", "--cgroup", "/x", "--for", "1m"},
		"[cgroup without-a-way-in] were all set": {"--cgroup", "/x", "--without-a-way-in", "--for", "1m"},
		"must be 1s to 1h0m0s":                   {"--node", "--for", "61m"},
		"required flag":                          {"--node"},
	} {
		_, err := n.run(append([]string{"quarantine"}, args...)...)
		require.ErrorContains(t, err, want)
	}
}

func TestAQuarantineOfTheNodeTellsTheGuardWhatIsLeftOfIt(t *testing.T) {
	s := &script{answers: []arc.Verdict{arc.VerdictGranted, arc.VerdictHeld, arc.VerdictReleased}}
	renew, over := make(chan time.Time), make(chan time.Time)
	left := []time.Duration{time.Minute, 5 * time.Second, -time.Second}
	q := &quarantine{
		guard: s, renew: renew, over: over, report: func(string, ...any) {},
		left: func() time.Duration {
			next := left[0]
			left = left[1:]
			return next
		},
	}
	done := make(chan error, 1)
	go func() { done <- q.hold(t.Context(), &target{node: true}, time.Minute, func() {}) }()
	renew <- time.Time{}
	over <- time.Time{}
	require.NoError(t, <-done)
	var got []uint64
	for _, o := range s.orders {
		got = append(got, o.Parameter)
	}
	assert.Equal(t, []uint64{uint64(time.Minute), uint64(5 * time.Second), uint64(time.Second)}, got)
}

func TestASessionThatWouldBeCutOffIsRefusedFirst(t *testing.T) {
	l := &guard.Listed{Management: prefixesOf("192.0.2.0/24", "2001:db8::/32"), Allowed: prefixesOf("198.51.100.0/24"), Peers: prefixesOf("10.0.0.0/8")}
	for name, tc := range map[string]struct {
		from string
		port uint16
		want string
	}{
		"no session":            {"", 0, ""},
		"management":            {"192.0.2.9", 22, ""},
		"management, IPv6":      {"2001:db8::9", 22, ""},
		"management, elsewhere": {"192.0.2.9", 2222, "by port 2222"},
		"allowed, elsewhere":    {"198.51.100.7", 2222, ""},
		"a peer":                {"10.1.1.1", 22, "comes from 10.1.1.1 and would be cut off"},
		"anybody":               {"203.0.113.5", 22, "list it under --management or --allow"},
		"this machine":          {"127.0.0.1", 22, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cameFrom(t, tc.from, tc.port)
			err := (&target{node: true}).keepsASession(l)
			if tc.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.want)
			}
			require.NoError(t, (&target{node: true, lockedOut: true}).keepsASession(l))
			require.NoError(t, (&target{cgroup: 7}).keepsASession(l))
		})
	}
	l.Environment = guard.Edge
	cameFrom(t, "192.0.2.9", 22)
	require.ErrorContains(t, (&target{node: true}).keepsASession(l), "in the environment edge only what is listed under --allow")
	cameFrom(t, "198.51.100.7", 22)
	require.NoError(t, (&target{node: true}).keepsASession(l))
	cameFrom(t, "203.0.113.5", 22)
	n := newNode(t).guard().collector()
	_, err := n.run("quarantine", "--node", "--for", "1m")
	require.ErrorContains(t, err, "this session comes from 203.0.113.5")
	require.ErrorIs(t, err, errNeverHeld)
	assert.Empty(t, n.g.Status().Audit, "the guard is not even asked")
}

// The session is in the environment of a parent, where sudo took it out of ours.
func TestASessionIsFoundInParents(t *testing.T) {
	if os.Getenv("REFLEXCTL_TEST_SESSION") != "" {
		from, port, found := sessionOf()
		assert.Equal(t, "203.0.113.5", from.String())
		assert.Equal(t, uint16(2222), port)
		assert.True(t, found)
		return
	}
	c := exec.Command("/bin/sh", "-c", `env -u SSH_CONNECTION "$0" -test.run='^TestASessionIsFoundInParents$' -test.v; exit $?`, os.Args[0])
	c.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "SSH_CONNECTION=") })
	c.Env = append(c.Env, "REFLEXCTL_TEST_SESSION=1", "SSH_CONNECTION=203.0.113.5 50000 10.0.0.1 2222")
	out, err := c.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "--- PASS: TestASessionIsFoundInParents")
	for _, text := range []string{"", "SSH_CONNECTION=", "SSH_CONNECTION=1.2.3.4 5 6.7.8.9", "SSH_CONNECTION=x 1 y 2", "SSH_CONNECTION=1.2.3.4 5 6.7.8.9 65536"} {
		_, _, found := sessionIn([]byte("A=b\x00" + text + "\x00"))
		assert.False(t, found, text)
	}
	from, _, found := sessionIn([]byte("SSH_CONNECTION=::ffff:1.2.3.4 5 6.7.8.9 22"))
	assert.True(t, found)
	assert.Equal(t, "1.2.3.4", from.String())
}

func TestWhatStillPassesIsSaid(t *testing.T) {
	assert.Empty(t, stillPasses(&guard.Listed{}))
	assert.Equal(t, []string{"everything still passes with 198.51.100.1/32"},
		stillPasses(&guard.Listed{Environment: guard.AirGapped, Peers: prefixesOf("10.0.0.0/8"), Allowed: prefixesOf("198.51.100.1/32")}))
	assert.Equal(t, []string{
		"SSH to this node still passes from 192.0.2.0/24, 2001:db8::/32",
		"what the node must not be without still passes with 10.0.0.0/8",
		"everything still passes with 198.51.100.1/32",
	}, stillPasses(&guard.Listed{Management: prefixesOf("192.0.2.0/24", "2001:db8::/32"), Peers: prefixesOf("10.0.0.0/8"), Allowed: prefixesOf("198.51.100.1/32")}))
	n := newNode(t)
	n.network = guard.Network{Management: prefixesOf("192.0.2.0/24")}
	n.guard()
	s, err := guardStatus(context.Background(), n.at("guard.sock"))
	require.NoError(t, err)
	assert.Equal(t, guard.Listed{Environment: guard.Cloud, Management: prefixesOf("192.0.2.0/24")}, s.Listed, "as the guard says over its socket")
}

// An observed one needs no kernel: it is released as a real one is.
func TestReleaseOfTheNode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the guard takes it from root only")
	}
	n := newNode(t)
	n.network, n.other = guard.Network{Quarantine: true, Management: prefixesOf("192.0.2.0/24")}, 61234
	n.guard().collector()
	text, err := n.run("release", "--node")
	require.NoError(t, err)
	assert.Equal(t, "the node is not in quarantine, says the guard\n", text)
	assert.Empty(t, n.got())

	payment := n.cgroup("payment.service")
	require.Equal(t, arc.VerdictGranted, n.hold(payment, n.now(), false).Verdict)
	c := guard.Dial(n.at("guard.sock"))
	defer c.Close()
	o := arc.Order{Action: arc.ActionNodeQuarantine, Observe: true, Parameter: uint64(time.Minute), TTL: int64(15 * time.Second), Generation: n.now()}
	var out arc.Outcome
	require.NoError(t, c.Act(t.Context(), o, &out))
	require.Equal(t, arc.VerdictObserved, out.Verdict, out.Cause)
	_, err = n.run("release", "/", "--cgroup-root", n.root)
	require.ErrorContains(t, err, "there is no such cgroup", "the root is not what is held")

	n.obey = func(reflexextension.OperatorOrder) {
		var out arc.Outcome
		_ = n.g.Act(context.Background(), arc.Order{Cgroup: payment, Action: arc.ActionMemoryHigh, Verb: arc.Release, Generation: n.now()}, &out)
	}
	_, err = n.run("release", "--all")
	require.NoError(t, err)
	require.Len(t, n.g.Status().Leases, 1, "which is an operator's, and not what the policy holds")

	n.obey = nil
	text, err = n.run("release", "--node", "--reason", "done")
	require.NoError(t, err)
	assert.Equal(t, "the node has its network back, says the guard\n", text)
	assert.Empty(t, n.g.Status().Leases)
	got := n.got()
	assert.Equal(t, reflexextension.OperatorOrder{Action: "record", What: "quarantine of the node released", Reason: "done"}, got[len(got)-1])
	require.NoError(t, c.Act(t.Context(), o, &out))
	assert.Equal(t, arc.VerdictRefused, out.Verdict, "who goes on renewing is refused")

	for _, args := range [][]string{{"--node", "x"}, {"--node", "--all"}, {"--node", "--for", "1m"}} {
		_, err := n.run(append([]string{"release"}, args...)...)
		require.Error(t, err)
	}
}

// An empty cgroup of the kernel's stands for the root: nobody is cut off.
func TestAQuarantineOfTheNodeIsInTheJournalAndTheAudit(t *testing.T) {
	mount := guardtest.Network(t)
	cameFrom(t, "192.0.2.9", 22)
	n := newNode(t)
	n.root = filepath.Join(mount, fmt.Sprintf("reflexctl-test-%d", os.Getpid()))
	require.NoError(t, os.Mkdir(n.root, 0o755))
	t.Cleanup(func() { assert.NoError(t, os.Remove(n.root)) })
	n.network, n.other = guard.Network{Quarantine: true, Management: prefixesOf("192.0.2.0/24")}, 61234
	n.guard().collector()
	text, err := n.run("quarantine", "--node", "--for", "1s", "--reason", "incident 42")
	require.NoError(t, err)
	for _, said := range []string{
		"SSH to this node still passes from 192.0.2.0/24\n", "is not the root of the hierarchy",
		"the node is cut off, for 1s; an interrupt ends it\n", "the node has its network back\n",
	} {
		assert.Contains(t, text, said)
	}
	assert.Equal(t, []reflexextension.OperatorOrder{
		{Action: "record", What: "quarantine of the node for 1s begun", Reason: "incident 42"},
		{Action: "record", What: "quarantine of the node ended", Reason: "incident 42"},
	}, n.got())
	var audit []string
	s := n.g.Status()
	for i := range s.Audit {
		audit = append(audit, s.Audit[i].Verb+" "+s.Audit[i].Verdict)
		assert.Equal(t, "network.quarantine.node", s.Audit[i].Action)
		assert.Contains(t, []string{"by an operator (uid 0): incident 42", "the lease expired"}, s.Audit[i].Reason)
	}
	assert.Contains(t, audit, "hold granted")
	assert.Contains(t, audit, "release released")
}
