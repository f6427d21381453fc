// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
)

// attachPrograms puts a lease's programs into the kernel.
func (g *Guard) attachPrograms(l *networkLease) (enforcement, error) {
	// A megabyte was read for it. The guard's memory is locked, so that what its
	// heap has once grown to is never given back.
	defer func() { go runtime.GC() }()
	if l.key.action == arc.ActionShield {
		return g.attachShield(l)
	}
	open, o := bpf.OpenThrottle, bpf.VerdictOptions{
		Cgroup: l.dir.FD(), Rate: l.value, Deadline: l.deadline.Load(), Allowed: g.config.Network.Allowed,
	}
	switch l.key.action {
	case arc.ActionQuarantine:
		open = bpf.OpenQuarantine
	case arc.ActionNodeQuarantine:
		if !g.config.Network.Environment.Essentials() {
			open = bpf.OpenQuarantine
			break
		}
		open, o.Management, o.Peers = bpf.OpenNodeQuarantine, g.config.Network.Management, g.peers()
	}
	e, err := open(o)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", l.key.action, l.path, err)
	}
	return e, nil
}

func (g *Guard) attachShield(l *networkLease) (enforcement, error) {
	// What was there before the shield is kept. Without a list of it there is none,
	// which would cut what works.
	sessions, err := tcpSessions(maxSessions)
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", l.key.action, l.path, err)
	}
	if len(sessions) == maxSessions {
		g.config.Logger.Warn("more TCP sessions than a shield keeps", "kept", maxSessions)
	}
	e, err := bpf.OpenShield(bpf.ShieldOptions{
		Interface: int(l.key.cgroup), Rate: l.value, Aggregate: g.config.Network.Aggregate, Deadline: l.deadline.Load(),
		Management: g.config.Network.Management, Peers: g.peers(),
		Sessions: sessions, Generic: g.config.Network.GenericXDP,
	})
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", l.key.action, l.path, err)
	}
	return e, nil
}

// peers are what the node works with.
func (g *Guard) peers() []netip.Prefix {
	return slices.Concat(g.config.Network.Peers, resolvers("/etc/resolv.conf"))
}

// resolvers are the name servers that this machine asks: peers by themselves.
func resolvers(file string) []netip.Prefix {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var found []netip.Prefix
	for lines := bufio.NewScanner(f); lines.Scan() && len(found) < maxResolvers; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		address, err := netip.ParseAddr(fields[1])
		if err != nil || address.IsLoopback() {
			continue
		}
		address = address.WithZone("")
		found = append(found, netip.PrefixFrom(address, address.BitLen()))
	}
	return found
}
