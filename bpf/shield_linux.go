// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// As in nevercut.h.
const (
	scopeManagement = 1
	scopePeers      = 2
)

// reserveRate is how many packets a second of each kind that cannot be asked for
// its source pass anyhow (enum reserve in nevercut.h).
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
	if err := list(spec, map[uint32][]netip.Prefix{scopeManagement: o.Management, scopePeers: o.Peers}); err != nil {
		return nil, err
	}
	if o.Sources == 0 {
		o.Sources = DefaultSources
	}
	spec.Maps["sources"].MaxEntries = uint32(o.Sources)
	spec.Maps["sessions"].MaxEntries = uint32(max(len(o.Sessions), 1))
	fold := [2]uint64{rand.Uint64(), rand.Uint64() | 1} // odd: a product of it loses nothing
	for name, value := range map[string]any{"in_session": len(o.Sessions) > 0, "fold_first": fold[0], "fold_second": fold[1]} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("say how sessions are known: %w", err)
		}
	}
	loaded, err := loadWith(spec, "shield")
	if err != nil {
		return nil, err
	}
	e := &Enforcement{loaded: loaded, reasons: shieldCounts[:]}
	if err := e.prepareShield(o, fold); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Enforcement) prepareShield(o ShieldOptions, fold [2]uint64) error {
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
	if err := e.enter(o.Sessions, fold); err != nil {
		return err
	}
	return e.Renew(o.Rate, o.Deadline)
}

// enter puts sessions into the map of those that are kept.
func (e *Enforcement) enter(sessions []Session, fold [2]uint64) error {
	if len(sessions) == 0 {
		return nil
	}
	keys, values := make([]uint64, len(sessions)), make([]uint32, len(sessions))
	for i, s := range sessions {
		keys[i] = sessionKey(s, fold)
	}
	if _, err := e.loaded.Maps["sessions"].BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("keep %d sessions: %w", len(sessions), err)
	}
	return nil
}

// sessionKey is session_key of shield.bpf.c, of a segment that arrives.
func sessionKey(s Session, fold [2]uint64) uint64 {
	ports := uint64(s.Remote.Port())<<16 | uint64(s.LocalPort)
	if s.Remote.Addr().Is4() {
		return uint64(native32(s.Remote.Addr().AsSlice()))<<32 | ports
	}
	address := s.Remote.Addr().As16()
	key := (native64(address[:8]) ^ fold[0]) * fold[1]
	key = ((key ^ key>>32) + native64(address[8:])) * fold[1]
	return ((key ^ key>>32) + ports) * fold[1]
}
