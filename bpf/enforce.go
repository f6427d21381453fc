// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"net/netip"
)

var (
	// ErrHookTaken says that somebody else's program is attached where only one
	// can be. It is never replaced.
	ErrHookTaken = errors.New("another program is attached there already")
	// ErrNoNativeXDP says that an interface's driver does not run XDP itself.
	ErrNoNativeXDP = errors.New("the interface's driver has no XDP")
)

// MaxPrefixes is how many prefixes of each address family a program looks into.
const MaxPrefixes = 64

// DefaultSources is how many sources a shield keeps a bucket for.
const DefaultSources = 16384

// Session is one TCP session of this machine.
type Session struct {
	Remote    netip.AddrPort
	LocalPort uint16
}

// ShieldOptions say what a shield on a network interface does.
type ShieldOptions struct {
	// Interface is the index of an interface in this process's network namespace.
	Interface int
	// Rate is what every source may send, Aggregate what all of them may together,
	// in packets a second. Half of Aggregate is for sources that have a bucket
	// already, the other half for those that have none.
	Rate, Aggregate uint64
	// Deadline is when everything passes again (CLOCK_BOOTTIME, ns).
	Deadline int64
	// Management is from where operators log in, Peers what the node works with:
	// what is never cut passes from there (docs/safety.md).
	Management, Peers []netip.Prefix
	// Sessions pass whatever their source does.
	Sessions []Session
	// Generic runs the program after the packet's memory was allocated, which every
	// driver can. Without it a driver that has no XDP is [ErrNoNativeXDP].
	Generic bool
	// Sources bounds the sources that have a bucket of their own; 0 is
	// [DefaultSources].
	Sources int
}

// VerdictOptions say what happens to the packets of one cgroup's sockets, and of
// the cgroups' below it.
type VerdictOptions struct {
	// Cgroup is a descriptor of the cgroup's directory. It is not kept.
	Cgroup int
	// Rate is bytes a second, each way, from the IP header on. A quarantine has
	// none.
	Rate uint64
	// Deadline is when everything passes again (CLOCK_BOOTTIME, ns).
	Deadline int64
	// Allowed is never cut, either way.
	Allowed []netip.Prefix
	// Management is from where operators log in, Peers what the node works with:
	// what a node must not be without passes there, of [OpenNodeQuarantine] only.
	Management, Peers []netip.Prefix
}

// Count is how many packets met one fate.
type Count struct {
	// Reason is "passed.…", "dropped.…" or "expired".
	Reason  string
	Packets uint64
}

// shieldCounts are in the order of enum shield_count in shield.bpf.c.
var shieldCounts = [...]string{
	"expired", "passed.link", "passed.never_cut", "passed.session", "passed.known", "passed.new",
	"dropped.source", "dropped.aggregate", "dropped.new", "dropped.unparsed",
}

// verdictCounts are in the order of enum verdict_count in verdict.bpf.c.
var verdictCounts = [...]string{
	"expired", "passed.loopback", "passed.never_cut", "passed.allowed", "passed.session", "passed",
	"dropped.rate", "dropped.denied",
}
