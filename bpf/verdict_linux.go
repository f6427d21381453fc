// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

const (
	// scopeAllowed and costShift are as in verdict.bpf.c.
	scopeAllowed = 4
	costShift    = 20

	// creditTime is how far small segments of TCP may overdraw a bucket (ns).
	creditTime = second
)

// OpenThrottle attaches a token bucket to what the sockets of a cgroup receive and
// another to what they send. TCP sessions are slowed down, not cut: their small
// segments pass on credit.
func OpenThrottle(o VerdictOptions) (*Enforcement, error) {
	return openVerdict(o, "throttle_received", "throttle_sent")
}

// OpenQuarantine lets the sockets of a cgroup exchange nothing but loopback, ICMP
// errors, neighbour discovery and what the options allow.
func OpenQuarantine(o VerdictOptions) (*Enforcement, error) {
	return openVerdict(o, "deny_received", "deny_sent")
}

// OpenNodeQuarantine lets the sockets of a cgroup, which is the root of them all,
// exchange nothing but what a node must not be without, and what the options allow.
// What no socket of this machine sends or receives, but only passes through it, is
// not seen.
func OpenNodeQuarantine(o VerdictOptions) (*Enforcement, error) {
	return openVerdict(o, "isolate_received", "isolate_sent")
}

func openVerdict(o VerdictOptions, programs ...string) (*Enforcement, error) {
	e, err := prepareVerdict(o, nil, programs...)
	if err != nil {
		return nil, fmt.Errorf("limit a cgroup's network: %w", err)
	}
	for _, name := range programs {
		attach := ebpf.AttachCGroupInetIngress
		if name == programs[1] {
			attach = ebpf.AttachCGroupInetEgress
		}
		// A link runs beside the programs of others.
		l, err := link.AttachRawLink(link.RawLinkOptions{Target: o.Cgroup, Program: e.loaded.Programs[name], Attach: attach})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach %s: %w", name, classify(err)), e.Close())
		}
		e.links = append(e.links, l)
	}
	return e, nil
}

// prepareVerdict loads programs that are attached nowhere. adapt may change what
// is loaded.
func prepareVerdict(o VerdictOptions, adapt func(*ebpf.CollectionSpec) error, programs ...string) (*Enforcement, error) {
	spec, err := loadVerdict()
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	if err := list(spec, map[uint32][]netip.Prefix{
		scopeManagement: o.Management, scopePeers: o.Peers, scopeAllowed: o.Allowed,
	}); err != nil {
		return nil, err
	}
	if adapt != nil {
		if err := adapt(spec); err != nil {
			return nil, err
		}
	}
	loaded, err := loadWith(spec, programs...)
	if err != nil {
		return nil, err
	}
	e := &Enforcement{loaded: loaded, reasons: verdictCounts[:]}
	if err := e.prepareVerdict(o); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Enforcement) prepareVerdict(o VerdictOptions) error {
	state, err := mapArray[verdictVerdictState](e.loaded.Maps["state"])
	if err != nil {
		return err
	}
	e.unmap = state.close
	s := &state.values[0]
	e.deadline = &s.Deadline
	e.limit = func(rate uint64) { atomic.StoreUint64(&s.Cost, max(second<<costShift/max(rate, 1), 1)) }
	s.Burst, s.Credit, s.ReserveCost = burstTime, creditTime, costOf(reserveRate)
	return e.Renew(o.Rate, o.Deadline)
}
