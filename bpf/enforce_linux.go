// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const (
	second = 1_000_000_000

	// burstTime is for how long a bucket gathers credit (ns): ten ticks of the
	// slowest timer, by which the programs tell the time.
	burstTime = second / 10
)

// Enforcement is programs that drop packets, attached by links that nothing else
// refers to: they end with it, with the process that has it, and stop at their
// deadline whatever becomes of either.
type Enforcement struct {
	loaded   *ebpf.Collection
	links    []io.Closer
	reasons  []string
	deadline *uint64
	limit    func(rate uint64) // writes a rate to the programs' map
	unmap    func() error
}

// Renew sets the rate, in the unit of the options, and the deadline
// (CLOCK_BOOTTIME, ns).
func (e *Enforcement) Renew(rate uint64, deadline int64) error {
	at, err := monotonic(deadline)
	if err != nil {
		return err
	}
	e.limit(rate)
	atomic.StoreUint64(e.deadline, at)
	return nil
}

// Counts returns what became of packets so far, in a fixed order.
func (e *Enforcement) Counts() ([]Count, error) {
	counts := make([]Count, len(e.reasons))
	for i, reason := range e.reasons {
		var perCPU []uint64
		if err := e.loaded.Maps["counts"].Lookup(uint32(i), &perCPU); err != nil {
			return nil, fmt.Errorf("count packets: %w", err)
		}
		counts[i].Reason = reason
		for _, n := range perCPU {
			counts[i].Packets += n
		}
	}
	return counts, nil
}

// Close detaches the programs. Before that it lets everything pass.
func (e *Enforcement) Close() error {
	if e.deadline != nil {
		atomic.StoreUint64(e.deadline, 0)
	}
	var errs []error
	for _, l := range e.links {
		errs = append(errs, l.Close())
	}
	e.links = nil
	if e.unmap != nil {
		errs = append(errs, e.unmap())
		e.unmap, e.deadline, e.limit = nil, nil, nil
	}
	if e.loaded != nil {
		e.loaded.Close()
	}
	return errors.Join(errs...)
}

// monotonic is when a time of CLOCK_BOOTTIME comes by CLOCK_MONOTONIC, unless the
// machine sleeps before. Nothing is before 1, so that 0 is always over.
func monotonic(boottime int64) (uint64, error) {
	var boot, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot), unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)); err != nil {
		return 0, fmt.Errorf("read clocks: %w", err)
	}
	return uint64(max(boottime-boot.Nano()+mono.Nano(), 1)), nil
}

// costOf is what one of rate things a second takes of a bucket's credit: ns.
func costOf(rate uint64) uint64 { return max(second/max(rate, 1), 1) }

// loadWith creates the maps of spec and loads some of its programs.
func loadWith(spec *ebpf.CollectionSpec, programs ...string) (*ebpf.Collection, error) {
	if err := raiseLimit(); err != nil {
		return nil, err
	}
	only(spec, programs...)
	loaded, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load %v: %w", programs, classify(err))
	}
	return loaded, nil
}

// only leaves some programs in spec.
func only(spec *ebpf.CollectionSpec, programs ...string) {
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(programs, name)
	})
}

// list tells the programs of spec what prefixes are listed for, by scope.
func list(spec *ebpf.CollectionSpec, scopes map[uint32][]netip.Prefix) error {
	var (
		listed4 [MaxPrefixes]shieldPrefix4
		listed6 [MaxPrefixes]shieldPrefix6
		n4, n6  uint32
	)
	for scope, prefixes := range scopes {
		for _, p := range prefixes {
			if count := map[bool]*uint32{true: &n4, false: &n6}[p.Addr().Is4()]; *count == MaxPrefixes {
				return fmt.Errorf("more than %d prefixes of a family are listed: join some", MaxPrefixes)
			}
			mask := maskOf(p)
			network := p.Masked().Addr().AsSlice()
			if p.Addr().Is4() {
				listed4[n4] = shieldPrefix4{Network: native32(network), Mask: native32(mask), Scope: scope}
				n4++
				continue
			}
			listed6[n6] = shieldPrefix6{
				High: native64(network[:8]), Low: native64(network[8:]), MaskHigh: native64(mask[:8]), MaskLow: native64(mask[8:]), Scope: scope,
			}
			n6++
		}
	}
	for name, value := range map[string]any{"listed4": listed4, "listed6": listed6, "listed4_count": n4, "listed6_count": n6} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("list prefixes: %w", err)
		}
	}
	return nil
}

// As addresses lie in memory.
var (
	native32 = binary.NativeEndian.Uint32
	native64 = binary.NativeEndian.Uint64
)

func maskOf(p netip.Prefix) []byte { return net.CIDRMask(p.Bits(), p.Addr().BitLen()) }
