// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// A quarantine of the node is the one action on the root of the hierarchy. It is an
// order of its own, which no cgroup's id leads to, and an operator's alone (see
// orderer).

const (
	// MaxNodeQuarantine bounds what an operator may forget: it is not renewed past
	// that.
	MaxNodeQuarantine = time.Hour
	// MaxNodeTTL is how long it outlasts whoever renews it.
	MaxNodeTTL = 15 * time.Second

	// hierarchyRoot is the id of cgroup v2's own root.
	hierarchyRoot = 1
)

const errOver = refusal("the quarantine of the node is over: it has lasted as long as was asked for")

// validNode reports why an order cannot be about the node.
func validNode(o *arc.Order) error {
	if o.Cgroup != 0 || o.Interface != 0 || o.Device != 0 {
		return refusal("a quarantine of the node is of all of it, and the order names a part")
	}
	if o.Verb != arc.Hold {
		return nil
	}
	if ttl := time.Duration(o.TTL); ttl > MaxNodeTTL {
		return refusal(fmt.Sprintf("a lease of %v on the node is longer than %v", ttl, MaxNodeTTL))
	}
	if o.Parameter < uint64(MinTTL) || o.Parameter > uint64(MaxNodeQuarantine) {
		return refusal(fmt.Sprintf("a quarantine of the node for %v is not between %v and %v",
			time.Duration(min(o.Parameter, math.MaxInt64)), MinTTL, MaxNodeQuarantine))
	}
	return nil
}

// wayIn reports that nobody could get in, unless that is what is asked for.
func (g *Guard) wayIn(o *arc.Order) error {
	n := &g.config.Network
	place := n.Environment.row()
	if o.NoWayIn || place.needs == nil {
		return nil
	}
	if listed, flags := place.needs(n); !listed {
		return refusal(fmt.Sprintf("nobody could get in any more, in the environment %s (%s): start the guard with %s, or with another --environment; or say --without-a-way-in",
			place.name, place.about, flags))
	}
	return nil
}

// beyond says what a quarantine of the node does not reach for want of a root, ""
// where it has one.
func (g *Guard) beyond(l *networkLease) string {
	if l.key.action != arc.ActionNodeQuarantine || !g.root.Kernel() || g.root.ID() == hierarchyRoot {
		return ""
	}
	return g.root.Name() + " is not the root of the hierarchy: sockets of cgroups outside of it are not cut off"
}

// extend returns until when an order holds a lease (CLOCK_BOOTTIME, ns). The end of
// a node's quarantine comes no later than its first order said; a later generation
// is another one.
func (l *networkLease) extend(o *arc.Order, now int64) int64 {
	if o.Action != arc.ActionNodeQuarantine {
		return now + o.TTL
	}
	end := now + int64(o.Parameter) //nolint:gosec // an hour at most
	if l.end == 0 || o.Generation > l.generation {
		l.end = end
	}
	l.end = min(l.end, end)
	return min(now+o.TTL, l.end)
}

// over reports that an order would prolong what has come to its end.
func (l *networkLease) over(o *arc.Order, now int64) bool {
	return l.end != 0 && now >= l.end && o.Generation <= l.generation
}
