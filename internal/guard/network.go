// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// DefaultAggregate bounds what passes a shield, in packets a second.
	DefaultAggregate = 20000

	// minThrottle (bytes a second) and minShield (packets a second and source) are
	// the floors of what an order can ask for.
	minThrottle = 64 << 10
	minShield   = 100
	// maxPrefixes of a family are those of management and peers together, and as
	// many are allowed; they share with resolvers what a program looks into.
	maxResolvers = 8
	maxPrefixes  = 24
	// maxRate keeps a cost from being rounded to nothing.
	maxRate = 1 << 40
)

const _ = uint(bpf.MaxPrefixes - 2*maxPrefixes - maxResolvers)

// Network is what an operator says of the network that the guard acts on. The
// guard takes none of it from orders.
type Network struct {
	// Management is from where operators log in, Peers what the node works with:
	// cluster nodes, API servers, resolvers, storage, where telemetry goes. A
	// shield, and a quarantine of the node, never cut what is exchanged with them
	// and matches one of their rules.
	Management, Peers []netip.Prefix
	// Allowed is what every cgroup may talk to, throttled or in quarantine, the
	// node's included.
	Allowed []netip.Prefix
	// Quarantine permits ActionQuarantine and, to operators, ActionNodeQuarantine.
	// Without it such orders are refused.
	Quarantine bool
	// Environment chooses what an ActionNodeQuarantine leaves open; "" is [Cloud].
	Environment Environment
	// GenericXDP lets a shield run on interfaces whose driver has no XDP, at the
	// price of the packet's memory. It is refused there otherwise.
	GenericXDP bool
	// Aggregate bounds what passes a shield from all sources together, in packets
	// a second, besides what is never cut; 0 is [DefaultAggregate].
	Aggregate uint64
}

// ParsePrefix reads a prefix as flags and configuration have it.
func ParsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// Validate names the first of management, peer and allow, as flags and keys are
// called, that cannot be.
func (n *Network) Validate() error {
	families := map[string]int{}
	for name, prefixes := range map[string][]netip.Prefix{
		"management": n.Management, "peer": n.Peers, "allow": n.Allowed,
	} {
		for i, p := range prefixes {
			family := map[bool]string{true: "IPv4", false: "IPv6"}[p.Addr().Is4()]
			if name == "allow" {
				family += " allowed"
			}
			if families[family]++; families[family] > maxPrefixes {
				return fmt.Errorf("%s[%d]: more than %d prefixes of a family: join some", name, i, maxPrefixes)
			}
			if !p.IsValid() {
				return fmt.Errorf("%s[%d]: not a prefix", name, i)
			}
			if p.Bits() == 0 {
				return fmt.Errorf("%s[%d]: %s is everybody, which protects nobody", name, i, p)
			}
		}
	}
	return nil
}

// enforcement is what a network action has in the kernel. It ends with this
// process and stops by itself at its deadline (CLOCK_BOOTTIME, ns).
type enforcement interface {
	Renew(rate uint64, deadline int64) error
	Counts() ([]bpf.Count, error)
	Close() error
}

func overNetwork(a arc.Action) bool {
	return a == arc.ActionNetworkThrottle || a == arc.ActionShield || isQuarantine(a)
}

func isQuarantine(a arc.Action) bool {
	return a == arc.ActionQuarantine || a == arc.ActionNodeQuarantine
}

// keyOf names the lease that an order is about. A shield's target is an
// interface, whose index stands where others have a cgroup.
func keyOf(o *arc.Order) leaseKey {
	if o.Action == arc.ActionShield {
		return leaseKey{cgroup: uint64(o.Interface), action: o.Action}
	}
	return leaseKey{cgroup: o.Cgroup, action: o.Action}
}

// validTarget reports why an order's target cannot be one.
func validTarget(o *arc.Order) error {
	switch {
	case o.Action == arc.ActionNodeQuarantine:
		return validNode(o)
	case o.Action != arc.ActionShield && o.Cgroup == 0:
		return refusal("the order names no cgroup")
	case o.Action == arc.ActionShield && o.Cgroup != 0:
		return refusal("a shield is put on an interface, and the order names a cgroup")
	case o.Action == arc.ActionShield && o.Interface == 0:
		return refusal("the order names no interface")
	}
	return nil
}

// actOnNetwork is act for actions that no file of a cgroup holds: what they put
// into the kernel is gone when this process is, so that there is nothing to
// record, to compare or to restore.
func (g *Guard) actOnNetwork(ctx context.Context, o *arc.Order, out *arc.Outcome) string {
	l := g.network.find(keyOf(o), o.Observe)
	if o.Verb == arc.Release {
		return g.releaseNetwork(l, o, out)
	}
	if l != nil {
		if done := g.holdNetwork(l, o, out); done {
			return l.path
		}
	}
	return g.grantNetwork(ctx, o, out)
}

func (g *Guard) grantNetwork(ctx context.Context, o *arc.Order, out *arc.Outcome) (path string) {
	g.granting.Lock()
	defer g.granting.Unlock()
	if g.stopping() {
		refuse(out, errStopping)
		return ""
	}
	if err := g.overtaken(ctx, o); err != nil {
		refuse(out, err)
		return ""
	}
	if l := g.network.find(keyOf(o), o.Observe); l != nil && g.holdNetwork(l, o, out) {
		return l.path // granted meanwhile
	}
	l := &networkLease{key: keyOf(o), observed: o.Observe, generation: o.Generation, value: rateOf(o), reason: o.Reason}
	if err := g.planNetwork(l, o); err != nil {
		l.close()
		refuse(out, err)
		return l.path
	}
	if err := g.overtaken(ctx, o); err != nil { // planning takes a while
		l.close()
		refuse(out, err)
		return l.path
	}
	l.rechecked = g.config.Clock()
	l.deadline.Store(l.extend(o, l.rechecked))
	out.Verdict = arc.VerdictObserved
	if !o.Observe {
		active, err := g.attach(l)
		if err != nil {
			l.close()
			refuse(out, err)
			return l.path
		}
		l.active = active
		out.Verdict, out.Written = arc.VerdictGranted, g.config.Clock()
		g.config.Logger.Info("lease granted", "target", l.path, "action", o.Action.String(), "value", l.value, "reason", o.Reason)
	}
	out.Original, out.Value, out.Deadline, out.Cause = arc.Unlimited, l.value, l.deadline.Load(), g.beyond(l)
	g.network.enter(l)
	g.enters()
	return l.path
}

// rateOf is what a lease holds for an order, its floor at least.
func rateOf(o *arc.Order) uint64 {
	switch o.Action {
	case arc.ActionNetworkThrottle:
		return min(max(o.Parameter, minThrottle), maxRate)
	case arc.ActionShield:
		return min(max(o.Parameter, minShield), maxRate)
	}
	return 0
}

// planNetwork checks target, permission and budgets, and opens the target.
func (g *Guard) planNetwork(l *networkLease, o *arc.Order) error {
	if isQuarantine(o.Action) && !g.config.Network.Quarantine {
		return refusal("quarantine is not permitted on this node: start the guard with --allow-quarantine, or set network::allow_quarantine of an embedded one")
	}
	if err := g.target(l, o); err != nil {
		return err
	}
	if o.Action == arc.ActionNodeQuarantine {
		return g.wayIn(o) // what others hold keeps no operator from it
	}
	if held := g.held(o.Observe); held >= g.config.MaxLeases {
		return refusal(fmt.Sprintf("%d leases are held, no more are allowed at a time", held))
	}
	if !g.grants[bookOf(o.Observe)].take(g.config.Clock()) {
		return refusal(fmt.Sprintf("%d leases were granted within a minute, no more are allowed", g.config.GrantsPerMinute))
	}
	return nil
}

func (g *Guard) target(l *networkLease, o *arc.Order) (err error) {
	switch o.Action {
	case arc.ActionShield:
		l.path, err = g.interfaces(int(o.Interface))
		return err
	case arc.ActionNodeQuarantine:
		l.path = "/"
		l.dir, err = g.root.OpenPath(l.path)
		return err
	}
	if l.dir, err = g.root.Open(o.Cgroup); err != nil {
		return err
	}
	if l.path, err = g.spared(l.dir); err != nil {
		return err
	}
	events, err := l.dir.ReadFile("cgroup.events", make([]byte, 0, 64))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if populated, known := cgroupfs.Keyed(events, "populated"); known && populated == 0 {
		return refusal(l.path + " has no process")
	}
	return nil
}

// spared reports why the safelist protects a cgroup, if it does.
func (g *Guard) spared(d *cgroupfs.Dir) (path string, err error) {
	if d.ID() == g.root.ID() {
		return "/", refusal("the root is never touched")
	}
	if path, err = d.Path(); err != nil {
		return "", err
	}
	return path, g.safe.check(d, path)
}

// held counts the leases of one book, of files and of the network.
func (g *Guard) held(observe bool) int {
	return len(g.leases(observe)) + len(g.network.leases(observe))
}

// interfaceName names an interface that may be shielded.
func interfaceName(index int) (string, error) {
	i, err := net.InterfaceByIndex(index)
	if err != nil {
		return "", refusal(fmt.Sprintf("there is no interface %d: %v", index, err))
	}
	if i.Flags&net.FlagLoopback != 0 {
		return i.Name, refusal(i.Name + " is the loopback interface, which is never touched")
	}
	return i.Name, nil
}
