// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
)

// wire is an enforcement that only remembers.
type wire struct {
	rate     uint64
	deadline int64
	closed   int
	fail     error
}

func (w *wire) Renew(rate uint64, deadline int64) error {
	if w.fail != nil {
		return w.fail
	}
	w.rate, w.deadline = rate, deadline
	return nil
}

func (w *wire) Counts() ([]bpf.Count, error) {
	return []bpf.Count{{Reason: "dropped.rate", Packets: 7}}, nil
}

func (w *wire) Close() error { w.closed++; return w.fail }

// network is a machine whose guard attaches nothing real.
type network struct {
	*machine
	wires []*wire
	fail  error
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	n := &network{machine: newMachine(t)}
	n.change = func(c *Config) { c.Network.Quarantine = true }
	return n
}

func (n *network) guard(t *testing.T) *Guard {
	t.Helper()
	g := n.machine.guard(t)
	g.attach = func(l *networkLease) (enforcement, error) {
		if n.fail != nil {
			return nil, n.fail
		}
		w := &wire{rate: l.value, deadline: l.deadline.Load()}
		n.wires = append(n.wires, w)
		return w, nil
	}
	g.interfaces = func(index int) (string, error) {
		if index > 9 {
			return "", refusal("there is no such interface")
		}
		return "eth" + string(rune('0'+index)), nil
	}
	return g
}

// networkOrders are one order of each action.
func networkOrders(cgroup uint64) map[string]arc.Order {
	o := arc.Order{Cgroup: cgroup, Action: arc.ActionNetworkThrottle, Parameter: mib, TTL: 15 * second, Generation: 3, Reason: "flood"}
	quarantine, shield := o, o
	quarantine.Action = arc.ActionQuarantine
	shield.Action, shield.Cgroup, shield.Interface, shield.Parameter = arc.ActionShield, 0, 2, 1000
	return map[string]arc.Order{"throttle": o, "quarantine": quarantine, "shield": shield}
}

// each runs a test with each action.
func each(t *testing.T, test func(t *testing.T, n *network, g *Guard, o arc.Order)) {
	t.Helper()
	for name, o := range networkOrders(0) {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			if o.Action != arc.ActionShield {
				o.Cgroup = n.cgroup(t, "batch/flood")
			}
			test(t, n, n.guard(t), o)
		})
	}
}

func TestANetworkLeaseIsGrantedRenewedAndReleased(t *testing.T) {
	each(t, func(t *testing.T, n *network, g *Guard, o arc.Order) {
		t.Helper()
		out := act(t, g, o)
		require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
		value := o.Parameter
		if o.Action == arc.ActionQuarantine {
			value = 0
		}
		assert.Equal(t, arc.Outcome{Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: value, Written: n.now(), Deadline: n.now() + o.TTL}, out)
		require.Len(t, n.wires, 1)
		w := n.wires[0]
		assert.Equal(t, wire{rate: value, deadline: out.Deadline}, *w)
		leases := g.Status().Leases
		require.Len(t, leases, 1)
		assert.Equal(t, o.Action.String(), leases[0].Knob)
		assert.Equal(t, o.Interface, leases[0].Interface)
		assert.Equal(t, o.Cgroup, leases[0].Cgroup)

		n.advance(5 * second)
		o.Parameter *= 2
		out = act(t, g, o)
		require.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
		assert.Equal(t, n.now()+o.TTL, w.deadline, "the program's own deadline moves along")
		if o.Action != arc.ActionQuarantine {
			assert.Equal(t, o.Parameter, w.rate)
		}
		assert.Len(t, n.wires, 1)

		o.Verb = arc.Release
		out = act(t, g, o)
		assert.Equal(t, arc.VerdictReleased, out.Verdict, out.Cause)
		assert.Equal(t, 1, w.closed)
		assert.Empty(t, g.Status().Leases)
		assert.Equal(t, []NetworkCount{{Action: o.Action.String(), Reason: "dropped.rate", Packets: 7}}, g.Status().Network, "what was counted stays")
		assert.Equal(t, arc.VerdictReleased, act(t, g, o).Verdict, "releasing again is done already")
		o.Verb = arc.Hold
		assert.Equal(t, arc.VerdictGranted, act(t, g, withGeneration(o, 4)).Verdict)
		assert.Equal(t, uint64(14), g.Status().Network[0].Packets)
	})
}

func withGeneration(o arc.Order, generation uint64) arc.Order {
	o.Generation = generation
	return o
}

func TestANetworkLeaseEndsByItself(t *testing.T) {
	each(t, func(t *testing.T, n *network, g *Guard, o arc.Order) {
		t.Helper()
		act(t, g, o)
		n.advance(o.TTL - 1)
		g.Patrol()
		require.Zero(t, n.wires[0].closed)
		n.advance(1)
		g.Patrol()
		assert.Equal(t, 1, n.wires[0].closed)
		audit := g.Status().Audit
		assert.Equal(t, "the lease expired", audit[len(audit)-1].Cause)
		assert.Equal(t, o.Interface, audit[len(audit)-1].Interface)
		assert.Equal(t, arc.VerdictRefused, act(t, g, o).Verdict, "its lease has been")
		assert.Equal(t, arc.VerdictGranted, act(t, g, later(o, 1)).Verdict)
	})
}

func TestTheKillSwitchAndTheEndDetachPrograms(t *testing.T) {
	each(t, func(t *testing.T, n *network, g *Guard, o arc.Order) {
		t.Helper()
		act(t, g, o)
		require.NoError(t, os.WriteFile(n.kill, nil, 0o600))
		g.Patrol()
		assert.Equal(t, 1, n.wires[0].closed)
		assert.Equal(t, arc.VerdictRefused, act(t, g, o).Verdict)
		require.NoError(t, os.Remove(n.kill))
		require.Equal(t, arc.VerdictRefused, act(t, g, o).Verdict, "its lease has been")
		require.Equal(t, arc.VerdictGranted, act(t, g, later(o, 1)).Verdict)
		require.NoError(t, g.Close())
		assert.Equal(t, 1, n.wires[1].closed)
		assert.Equal(t, arc.VerdictRefused, act(t, g, o).Verdict)
	})
}

func TestObservingAttachesNothing(t *testing.T) {
	each(t, func(t *testing.T, n *network, g *Guard, o arc.Order) {
		t.Helper()
		o.Observe = true
		out := act(t, g, o)
		assert.Equal(t, arc.VerdictObserved, out.Verdict, out.Cause)
		assert.Equal(t, arc.VerdictObserved, act(t, g, o).Verdict)
		require.Len(t, g.Status().Leases, 1)
		assert.True(t, g.Status().Leases[0].Observed)
		n.advance(o.TTL)
		g.Patrol()
		assert.Empty(t, g.Status().Leases)
		assert.Empty(t, n.wires)
	})
}

func TestAnOlderNetworkOrderIsRefused(t *testing.T) {
	each(t, func(t *testing.T, n *network, g *Guard, o arc.Order) {
		t.Helper()
		act(t, g, o)
		for _, verb := range []arc.Verb{arc.Hold, arc.Release} {
			old := withGeneration(o, 2)
			old.Verb = verb
			assert.Equal(t, arc.VerdictRefused, act(t, g, old).Verdict)
		}
		assert.Zero(t, n.wires[0].closed)
		o.Verb = arc.Release
		act(t, g, o)
		o.Verb = arc.Hold
		n.change = nil
		early := withGeneration(o, 9)
		early.Verb = arc.Release
		act(t, g, early) // before its hold
		assert.Equal(t, arc.VerdictRefused, act(t, g, withGeneration(o, 9)).Verdict)
	})
}

func TestStatusNamesWhatTheGuardMayDo(t *testing.T) {
	for _, permitted := range []bool{false, true} {
		n := newNetwork(t)
		n.change = func(c *Config) { c.Network.Quarantine = permitted }
		g := n.guard(t)
		want := []string{}
		for a := arc.ActionNone + 1; a < arc.NumActions; a++ {
			if !isQuarantine(a) || permitted {
				want = append(want, a.String())
			}
		}
		assert.Equal(t, want, g.Status().Actions)
	}
}

func TestNetworkLeasesCountAgainstTheBudgets(t *testing.T) {
	n := newNetwork(t)
	n.change = func(c *Config) { c.MaxLeases = 2 }
	g := n.guard(t)
	a, b := n.cgroup(t, "a"), n.cgroup(t, "b")
	require.Equal(t, arc.VerdictGranted, act(t, g, hold(a, 130*mib)).Verdict)
	orders := networkOrders(a)
	require.Equal(t, arc.VerdictGranted, act(t, g, orders["throttle"]).Verdict)
	out := act(t, g, orders["shield"])
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "2 leases are held")
	assert.Equal(t, arc.VerdictRefused, act(t, g, hold(b, 130*mib)).Verdict, "they count for others as well")
}

func TestNetworkGrantsAreLimitedByTheMinute(t *testing.T) {
	n := newNetwork(t)
	n.change = func(c *Config) { c.GrantsPerMinute = 2 }
	g := n.guard(t)
	o := networkOrders(n.cgroup(t, "a"))["throttle"]
	for i := range uint64(3) {
		out := act(t, g, withGeneration(o, 10+i))
		if i == 2 {
			assert.Contains(t, out.Cause, "within a minute")
			break
		}
		require.Equal(t, arc.VerdictGranted, out.Verdict)
		release := withGeneration(o, 10+i)
		release.Verb = arc.Release
		act(t, g, release)
	}
}

func TestTheNetworkOfWhatIsProtectedIsNeverTouched(t *testing.T) {
	for _, action := range []string{"throttle", "quarantine"} {
		t.Run(action, func(t *testing.T) {
			n := newNetwork(t)
			g := n.guard(t)
			n.cgroup(t, "")
			root, err := g.root.OpenPath("/")
			require.NoError(t, err)
			defer root.Close()
			for _, id := range []uint64{root.ID(), n.cgroup(t, "system.slice"), n.cgroup(t, "system.slice/ssh.service"), n.cgroup(t, "init.scope")} {
				out := act(t, g, networkOrders(id)[action])
				assert.Equal(t, arc.VerdictRefused, out.Verdict, out.Cause)
			}
			empty := n.cgroup(t, "empty")
			n.set(t, "empty", "cgroup.events", "populated 0")
			assert.Contains(t, act(t, g, networkOrders(empty)[action]).Cause, "has no process")
			assert.Empty(t, n.wires)

			moving := n.cgroup(t, "moving")
			o := networkOrders(moving)[action]
			require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
			n.process(t, "moving", 77, "sshd", 0)
			n.advance(second)
			out := act(t, g, o)
			assert.Equal(t, arc.VerdictRefused, out.Verdict)
			assert.Contains(t, out.Cause, "sshd")
			assert.Equal(t, 1, n.wires[0].closed)
		})
	}
}

func TestNetworkOrdersTheGuardDoesNotTake(t *testing.T) {
	for name, tc := range map[string]struct {
		action string
		change func(*arc.Order)
		cause  string
	}{
		"a throttle of nobody":         {"throttle", func(o *arc.Order) { o.Cgroup = 0 }, "names no cgroup"},
		"a quarantine of nobody":       {"quarantine", func(o *arc.Order) { o.Cgroup = 0 }, "names no cgroup"},
		"a shield of no interface":     {"shield", func(o *arc.Order) { o.Interface = 0 }, "names no interface"},
		"a shield of a cgroup":         {"shield", func(o *arc.Order) { o.Cgroup = 5 }, "names a cgroup"},
		"a shield of what is not here": {"shield", func(o *arc.Order) { o.Interface = 99 }, "no such interface"},
		"a long TTL":                   {"shield", func(o *arc.Order) { o.TTL = 61 * second }, "is not between"},
		"a vanished cgroup":            {"throttle", func(o *arc.Order) { o.Cgroup = 1 << 50 }, "cgroup"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			g := n.guard(t)
			o := networkOrders(n.cgroup(t, "a"))[tc.action]
			tc.change(&o)
			out := act(t, g, o)
			assert.Equal(t, arc.VerdictRefused, out.Verdict)
			assert.Contains(t, out.Cause, tc.cause)
			assert.Empty(t, n.wires)
		})
	}
}

func TestQuarantineIsForWhoPermitsIt(t *testing.T) {
	n := newNetwork(t)
	n.change = nil
	out := act(t, n.guard(t), networkOrders(n.cgroup(t, "a"))["quarantine"])
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "not permitted")
}

func TestNetworkOrdersHaveFloors(t *testing.T) {
	n := newNetwork(t)
	g := n.guard(t)
	for action, floor := range map[string]uint64{"throttle": minThrottle, "shield": minShield} {
		o := networkOrders(n.cgroup(t, "a"))[action]
		o.Parameter = 1
		assert.Equal(t, floor, act(t, g, o).Value, action)
		o.Parameter = 0
		assert.Equal(t, floor, act(t, g, o).Value, action)
		o.Parameter = arc.Unlimited
		assert.Equal(t, uint64(maxRate), act(t, g, o).Value, action)
	}
}

func TestWhatCannotBeAttachedIsNotHeld(t *testing.T) {
	each(t, func(t *testing.T, n *network, g *Guard, o arc.Order) {
		t.Helper()
		n.fail = bpf.ErrHookTaken
		out := act(t, g, o)
		assert.Equal(t, arc.VerdictFailed, out.Verdict)
		assert.Contains(t, out.Cause, "another program")
		assert.Empty(t, g.Status().Leases)
		n.fail = nil
		require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
		n.wires[0].fail = errors.New("no more")
		before := g.Status().Leases[0].Deadline
		n.advance(second / 2)
		assert.Equal(t, arc.VerdictFailed, act(t, g, o).Verdict)
		assert.Equal(t, before, g.Status().Leases[0].Deadline, "a renewal that failed extends nothing")
	})
}

func TestANetworkOrderNobodyWaitsForIsNotCarriedOut(t *testing.T) {
	n := newNetwork(t)
	g := n.guard(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := networkOrders(n.cgroup(t, "a"))["throttle"]
	g.granting.Lock()
	done := make(chan arc.Outcome)
	go func() {
		var out arc.Outcome
		_ = g.Act(ctx, o, &out)
		done <- out
	}()
	cancel()
	g.granting.Unlock()
	out := <-done
	assert.NotEqual(t, arc.VerdictGranted, out.Verdict)
	assert.Empty(t, n.wires)
}

func TestPrefixesThatProtectNobodyAreRefused(t *testing.T) {
	for name, network := range map[string]Network{
		"management": {Management: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		"peer":       {Peers: []netip.Prefix{{}}},
		"allow":      {Allowed: []netip.Prefix{netip.MustParsePrefix("::/0")}},
	} {
		assert.ErrorContains(t, (&Config{Network: network}).Validate(), "network: "+name+"[0]")
	}
	many := make([]netip.Prefix, maxPrefixes)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16)
	}
	require.NoError(t, (&Config{Network: Network{Management: many, Allowed: many}}).Validate())
	assert.ErrorContains(t, (&Config{Network: Network{Management: many, Peers: many[:1]}}).Validate(), "more than")
}

func TestResolversArePeers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	require.NoError(t, os.WriteFile(file, []byte("# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.1\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nnameserver nonsense\n"), 0o600))
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("fe80::1/128")}, resolvers(file))
	assert.Empty(t, resolvers(file+"-"))
}
