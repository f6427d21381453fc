// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/unixsocket"
)

// ofNode is an order to cut the node off for a minute.
func ofNode() arc.Order {
	return arc.Order{Action: arc.ActionNodeQuarantine, Parameter: uint64(time.Minute), TTL: 15 * second, Generation: 3, Reason: "worm"}
}

// operate gives an order as an operator does.
func operate(tb testing.TB, g *Guard, o arc.Order) arc.Outcome {
	tb.Helper()
	var out arc.Outcome
	require.NoError(tb, g.actFor(tb.Context(), byOperator, o, &out))
	return out
}

// newManaged is a network with a way in.
func newManaged(t *testing.T) *network {
	t.Helper()
	n := newNetwork(t)
	n.change = func(c *Config) {
		c.Network.Quarantine = true
		c.Network.Management = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	}
	return n
}

func TestANodeIsCutOffByOperatorsOnly(t *testing.T) {
	n := newManaged(t)
	g := n.guard(t)
	for who, cause := range map[orderer]string{byCollector: "give the order as root", byRoot: "start the guard with --uid"} {
		for _, change := range []func(*arc.Order){
			func(*arc.Order) {},
			func(o *arc.Order) { o.Observe = true },
			func(o *arc.Order) { o.NoWayIn = true },
			func(o *arc.Order) { o.Verb = arc.Release },
		} {
			o := ofNode()
			change(&o)
			var out arc.Outcome
			require.NoError(t, g.actFor(t.Context(), who, o, &out))
			assert.Equal(t, arc.VerdictRefused, out.Verdict)
			assert.Contains(t, out.Cause, cause)
		}
	}
	assert.Contains(t, act(t, g, ofNode()).Cause, "give the order as root", "a call is the collector's")
	assert.Empty(t, n.wires)
	last := g.Status().Audit[len(g.Status().Audit)-1]
	assert.Equal(t, "network.quarantine.node", last.Action)
	assert.Equal(t, "refused", last.Verdict)

	require.Equal(t, arc.VerdictGranted, operate(t, g, ofNode()).Verdict)
	o := withGeneration(ofNode(), 9)
	o.Verb = arc.Release
	assert.Equal(t, arc.VerdictRefused, act(t, g, o).Verdict, "nor does a collector end it")
	assert.Zero(t, n.wires[0].closed)
}

func TestAQuarantineOfTheNodeIsALease(t *testing.T) {
	n := newManaged(t)
	g := n.guard(t)
	o := ofNode()
	out := operate(t, g, o)
	assert.Equal(t, arc.Outcome{Verdict: arc.VerdictGranted, Original: arc.Unlimited, Written: n.now(), Deadline: n.now() + 15*second}, out)
	require.Len(t, n.wires, 1)
	assert.Equal(t, out.Deadline, n.wires[0].deadline)
	leases := g.Status().Leases
	require.Len(t, leases, 1)
	assert.Equal(t, Lease{Path: "/", Knob: "network.quarantine.node", Original: arc.Unlimited, Generation: 3, Deadline: out.Deadline, Reason: "worm"}, leases[0])

	n.advance(5 * second)
	o.Parameter -= uint64(5 * second)
	out = operate(t, g, o)
	assert.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
	assert.Equal(t, n.now()+15*second, n.wires[0].deadline)

	n.advance(15*second - 1)
	g.Patrol()
	require.Zero(t, n.wires[0].closed)
	n.advance(1)
	g.Patrol()
	assert.Equal(t, 1, n.wires[0].closed, "whoever renewed it is gone")
	audit := g.Status().Audit
	assert.Equal(t, Entry{
		At: n.now(), Times: 1, Path: "/", Action: "network.quarantine.node", Verb: "release", Verdict: "released",
		Original: arc.Unlimited, Value: arc.Unlimited, Cause: "the lease expired", Reason: "the lease expired",
	}, audit[len(audit)-1])

	assert.Equal(t, errSpent.Error(), operate(t, g, o).Cause)
	o.Generation = uint64(n.now())
	require.Equal(t, arc.VerdictGranted, operate(t, g, o).Verdict)
	o.Verb = arc.Release
	assert.Equal(t, arc.VerdictReleased, operate(t, g, o).Verdict)
	assert.Equal(t, 1, n.wires[1].closed)
	assert.Empty(t, g.Status().Leases)
}

func TestAQuarantineOfTheNodeEndsWhenItsTimeIsOver(t *testing.T) {
	n := newManaged(t)
	g := n.guard(t)
	o := ofNode()
	o.Parameter = uint64(20 * second)
	began := n.now()
	require.Equal(t, arc.VerdictGranted, operate(t, g, o).Verdict)
	for range 3 { // renewed as if it began each time
		n.advance(6 * second)
		require.Equal(t, arc.VerdictHeld, operate(t, g, o).Verdict)
	}
	assert.Equal(t, began+20*second, n.wires[0].deadline, "the programs' own deadline, too")
	n.advance(2 * second)
	assert.Equal(t, string(errOver), operate(t, g, o).Cause, "before the guard comes by")
	g.Patrol()
	assert.Equal(t, 1, n.wires[0].closed)
	assert.Equal(t, arc.VerdictRefused, operate(t, g, o).Verdict, "and after it")
	assert.Len(t, n.wires, 1)

	o.Generation++
	require.Equal(t, arc.VerdictGranted, operate(t, g, o).Verdict, "another order is another quarantine")
	n.advance(10 * second)
	longer := withGeneration(o, o.Generation+1)
	longer.Parameter = uint64(MaxNodeQuarantine)
	require.Equal(t, arc.VerdictHeld, operate(t, g, longer).Verdict)
	n.advance(12 * second)
	g.Patrol()
	assert.Zero(t, n.wires[1].closed, "a later order moves the end out")
	shorter := longer
	shorter.Parameter = uint64(second)
	require.Equal(t, arc.VerdictHeld, operate(t, g, shorter).Verdict)
	n.advance(second)
	g.Patrol()
	assert.Equal(t, 1, n.wires[1].closed, "and the same order only in")
}

func TestAQuarantineOfTheNodeLeavesAWayIn(t *testing.T) {
	somebody := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for name, listed := range map[string]Network{
		"nobody": {}, "management": {Management: somebody}, "peers": {Peers: somebody}, "allowed": {Allowed: somebody},
	} {
		n := newNetwork(t)
		n.change = func(c *Config) { c.Network = listed; c.Network.Quarantine = true }
		g := n.guard(t)
		out := operate(t, g, ofNode())
		if name != "nobody" {
			assert.Equal(t, arc.VerdictGranted, out.Verdict, name)
			continue
		}
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		for _, flag := range []string{"--management", "--peer", "--allow", "--without-a-way-in"} {
			assert.Contains(t, out.Cause, flag)
		}
		assert.Empty(t, n.wires)
		o := ofNode()
		o.NoWayIn = true
		assert.Equal(t, arc.VerdictGranted, operate(t, g, o).Verdict, "said in so many words")
	}
}

// Whatever an operator's connection says of a cgroup, the root is not to be had.
func TestNoCgroupsIdLeadsToTheNode(t *testing.T) {
	n := newManaged(t)
	g := n.guard(t)
	n.cgroup(t, "")
	for _, id := range []uint64{0, g.root.ID(), 1} {
		for a := arc.ActionNone; a < arc.NumActions+1; a++ {
			if a == arc.ActionNodeQuarantine && id == 0 || a == arc.ActionShield {
				continue
			}
			o := ofNode()
			o.Action, o.Cgroup, o.Device, o.Parameter = a, id, 0, uint64(MinTTL)
			out := operate(t, g, o)
			assert.Equal(t, arc.VerdictRefused, out.Verdict, "%s of %d: %s", a, id, out.Cause)
		}
	}
	assert.Empty(t, n.wires)
}

func TestQuarantinesOfTheNodeThatTheGuardDoesNotTake(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*arc.Order)
		cause  string
	}{
		"of a cgroup":     {func(o *arc.Order) { o.Cgroup = 7 }, "names a part"},
		"of an interface": {func(o *arc.Order) { o.Interface = 2 }, "names a part"},
		"of a device":     {func(o *arc.Order) { o.Device = disk }, "names a part"},
		"released in part": {func(o *arc.Order) {
			o.Verb, o.Cgroup = arc.Release, 7
		}, "names a part"},
		"without an end":       {func(o *arc.Order) { o.Parameter = 0 }, "for 0s is not between 1s and 1h"},
		"for too long":         {func(o *arc.Order) { o.Parameter = uint64(time.Hour) + 1 }, "is not between"},
		"for ever":             {func(o *arc.Order) { o.Parameter = arc.Unlimited }, "is not between"},
		"renewed too seldom":   {func(o *arc.Order) { o.TTL = 16 * second }, "is longer than 15s"},
		"renewed all the time": {func(o *arc.Order) { o.TTL = second - 1 }, "is not between"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newManaged(t)
			o := ofNode()
			tc.change(&o)
			out := operate(t, n.guard(t), o)
			assert.Equal(t, arc.VerdictRefused, out.Verdict)
			assert.Contains(t, out.Cause, tc.cause)
			assert.Empty(t, n.wires)
		})
	}
	n := newManaged(t)
	n.change = func(c *Config) { c.Network.Management = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }
	g := n.guard(t)
	assert.Contains(t, operate(t, g, ofNode()).Cause, "--allow-quarantine")
	assert.NotContains(t, g.Status().Actions, "network.quarantine.node")
}

func TestWhatACollectorHoldsKeepsNoOperatorFromTheNode(t *testing.T) {
	n := newManaged(t)
	change := n.change
	n.change = func(c *Config) { change(c); c.MaxLeases, c.GrantsPerMinute = 1, 1 }
	g := n.guard(t)
	require.Equal(t, arc.VerdictGranted, act(t, g, hold(n.cgroup(t, "a"), 130*mib)).Verdict)
	require.Equal(t, arc.VerdictRefused, act(t, g, hold(n.cgroup(t, "b"), 130*mib)).Verdict)
	assert.Equal(t, arc.VerdictGranted, operate(t, g, ofNode()).Verdict)
}

func TestTheKillSwitchAndTheEndOfTheGuardEndAQuarantineOfTheNode(t *testing.T) {
	n := newManaged(t)
	g := n.guard(t)
	require.Equal(t, arc.VerdictGranted, operate(t, g, ofNode()).Verdict)
	require.NoError(t, os.WriteFile(n.kill, nil, 0o600))
	g.Patrol()
	assert.Equal(t, 1, n.wires[0].closed)
	assert.Contains(t, operate(t, g, ofNode()).Cause, "kill switch")
	require.NoError(t, os.Remove(n.kill))
	again := ofNode()
	again.Generation = uint64(n.now())
	require.Equal(t, arc.VerdictGranted, operate(t, g, again).Verdict)
	require.NoError(t, g.Close())
	assert.Equal(t, 1, n.wires[1].closed)
}

// Two orders about what is not held yet are one lease: a second one's programs would
// be nobody's to detach.
func TestOrdersAtOnceAreOneNetworkLease(t *testing.T) {
	n := newManaged(t)
	g := n.guard(t)
	o := networkOrders(n.cgroup(t, "a"))["throttle"]
	var first, then arc.Outcome
	g.grantNetwork(t.Context(), &o, &first)
	g.grantNetwork(t.Context(), &o, &then) // it had seen that nothing is held, too
	assert.Equal(t, []arc.Verdict{arc.VerdictGranted, arc.VerdictHeld}, []arc.Verdict{first.Verdict, then.Verdict})
	assert.Len(t, n.wires, 1)
}

// dialled asks a guard at a socket as a user does: a thread gives up what it is, and
// ends.
func dialled(t *testing.T, socket string, uid int, o arc.Order) (arc.Outcome, error) {
	t.Helper()
	type answer struct {
		out arc.Outcome
		err error
	}
	done := make(chan answer)
	go func() {
		var a answer
		runtime.LockOSThread()
		if uid != os.Geteuid() {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				done <- answer{err: errno}
				return
			}
		}
		c := Dial(socket)
		defer c.Close()
		a.err = c.Act(context.Background(), o, &a.out)
		done <- a
	}()
	a := <-done
	return a.out, a.err
}

// The kernel says whose an order is, whatever the order says.
func TestTheSocketKnowsOperatorsFromTheCollector(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("being somebody else needs root")
	}
	const collector = 61234
	for _, tc := range []struct {
		name          string
		collector, by int
		verdict       arc.Verdict
		cause         string
	}{
		{"root, of a collector's that is not", collector, 0, arc.VerdictGranted, ""},
		{"the collector", collector, collector, arc.VerdictRefused, string(errOperatorsOnly)},
		{"root, of a collector that is root", 0, 0, arc.VerdictRefused, string(errWhoseOrder)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := newManaged(t)
			g := n.guard(t)
			socket := socketPath(t)
			l, err := unixsocket.Listen(socket, tc.collector)
			require.NoError(t, err)
			require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(socket)), 0o755))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- serve(ctx, g, l, tc.collector) }()
			out, err := dialled(t, socket, tc.by, ofNode())
			require.NoError(t, err)
			assert.Equal(t, tc.verdict, out.Verdict, out.Cause)
			assert.Equal(t, tc.cause, out.Cause)
			out, err = dialled(t, socket, tc.by, networkOrders(n.cgroup(t, "a"))["throttle"])
			require.NoError(t, err)
			assert.Equal(t, arc.VerdictGranted, out.Verdict, "all else is anybody's who is let in")
			cancel()
			require.NoError(t, <-done)
		})
	}
}

// Who cannot be known, and a stranger, get no answer on either way.
func TestRootsConnectionsAreSetApartAndNobodyElses(t *testing.T) {
	for _, tc := range []struct {
		uid   uint32
		err   error
		apart bool
	}{{0, nil, true}, {1000, nil, false}, {0, errors.New("no credentials"), false}, {1<<32 - 1, nil, false}} {
		socket := socketPath(t)
		l, err := unixsocket.Listen(socket, os.Geteuid())
		require.NoError(t, err)
		s := &sorted{Listener: l, apart: newApart(l.Addr()), credentials: func(net.Conn) (*unix.Ucred, error) { return &unix.Ucred{Uid: tc.uid}, tc.err }}
		got := make(chan bool, 2)
		take := func(l net.Listener, apart bool) {
			if conn, err := l.Accept(); err == nil {
				conn.Close()
				got <- apart
			}
		}
		go take(s, false)
		go take(s.apart, true)
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		assert.Equal(t, tc.apart, <-got, "uid %d", tc.uid)
		conn.Close()
		require.NoError(t, s.apart.Close())
		require.NoError(t, l.Close())
	}
	a := newApart(nil)
	require.NoError(t, a.Close())
	require.NoError(t, a.Close())
	ours, theirs := net.Pipe()
	a.put(ours) // nobody takes it any more
	_, err := theirs.Write([]byte("x"))
	require.Error(t, err)
}
