// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// As in shield.bpf.c.
const (
	scopeManagement = 1
	scopePeers      = 2
)

// reserveRate is how many packets a second of each kind that cannot be asked for
// its source pass anyhow (enum reserve in shield.bpf.c).
const reserveRate = 500

// OpenShield attaches a token bucket for every source to an interface. The error
// is [ErrHookTaken] where another program is attached, and [ErrNoNativeXDP] where
// the driver has no XDP and the options do not ask for less.
func OpenShield(o ShieldOptions) (*Enforcement, error) {
	e, err := prepareShield(o)
	if err != nil {
		return nil, fmt.Errorf("shield: %w", err)
	}
	mode := link.XDPDriverMode
	if o.Generic {
		mode = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: e.loaded.Programs["shield"], Interface: o.Interface, Flags: mode})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shield interface %d: %w", o.Interface, classifyXDP(err)), e.Close())
	}
	e.links = append(e.links, l)
	return e, nil
}

// classifyXDP tells the reasons for which XDP is not attached.
func classifyXDP(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrHookTaken, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w: %w", ErrNoNativeXDP, err)
	}
	return classify(err)
}

// prepareShield is a shield that is attached nowhere.
func prepareShield(o ShieldOptions) (*Enforcement, error) {
	spec, err := loadShield()
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	fill, err := list(spec, map[uint32][]netip.Prefix{scopeManagement: o.Management, scopePeers: o.Peers})
	if err != nil {
		return nil, err
	}
	if o.Sources == 0 {
		o.Sources = DefaultSources
	}
	spec.Maps["sources"].MaxEntries = uint32(o.Sources)
	spec.Maps["sessions"].MaxEntries = uint32(max(len(o.Sessions), 1))
	if err := spec.Variables["in_session"].Set(len(o.Sessions) > 0); err != nil {
		return nil, fmt.Errorf("say whether there are sessions: %w", err)
	}
	loaded, err := loadWith(spec, "shield")
	if err != nil {
		return nil, err
	}
	e := &Enforcement{loaded: loaded, reasons: shieldCounts[:]}
	if err := e.prepareShield(o, fill); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Enforcement) prepareShield(o ShieldOptions, fill func(*ebpf.Collection) error) error {
	state, err := mapArray[shieldShieldState](e.loaded.Maps["state"])
	if err != nil {
		return err
	}
	e.unmap = state.close
	s := &state.values[0]
	e.deadline = &s.Deadline
	e.limit = func(rate uint64) {
		aggregate := max(o.Aggregate/2, rate)
		atomic.StoreUint64(&s.SourceCost, costOf(rate))
		atomic.StoreUint64(&s.KnownCost, costOf(aggregate))
		atomic.StoreUint64(&s.NewcomerCost, costOf(aggregate))
	}
	s.ReserveCost, s.Burst = costOf(reserveRate), burstTime
	if err := errors.Join(fill(e.loaded), e.enter(o.Sessions)); err != nil {
		return err
	}
	return e.Renew(o.Rate, o.Deadline)
}

// enter puts sessions into the map of those that are kept.
func (e *Enforcement) enter(sessions []Session) error {
	if len(sessions) == 0 {
		return nil
	}
	keys, values := make([]shieldSession, len(sessions)), make([]uint32, len(sessions))
	for i, s := range sessions {
		keys[i] = sessionKey(s)
	}
	if _, err := e.loaded.Maps["sessions"].BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("keep %d sessions: %w", len(sessions), err)
	}
	return nil
}

// sessionKey is as the program makes it of a segment that arrives.
func sessionKey(s Session) shieldSession {
	remote := s.Remote.Addr().As16() // IPv4 mapped
	key := shieldSession{RemotePort: s.Remote.Port(), LocalPort: s.LocalPort}
	key.Remote.High, key.Remote.Low = binary.NativeEndian.Uint64(remote[:8]), binary.NativeEndian.Uint64(remote[8:])
	return key
}
