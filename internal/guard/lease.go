// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	recordVersion   = 1
	recordPrefix    = "trusted.reflex.lease."
	handsOffRecord  = "trusted.reflex.handsoff"
	maxRecordLength = 4096
)

// limit is a knob's value in a record: a number, or the word "max".
type limit uint64

// MarshalText implements encoding.TextMarshaler.
func (l limit) MarshalText() ([]byte, error) { return cgroupfs.AppendUint(nil, uint64(l)), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *limit) UnmarshalText(text []byte) error {
	v, ok := cgroupfs.ParseUint(text)
	if !ok {
		return fmt.Errorf("%s is not a limit", strconv.Quote(string(text)))
	}
	*l = limit(v)
	return nil
}

// record is what a lease leaves on its cgroup, in the knob's own unit. Values
// between Low and High are ours; the interval is declared ahead, so that a rising
// ceiling does not need a new record at every step. All of them are tighter than
// Original, but for a ceiling's High, which may reach it.
type record struct {
	Version    int              `json:"version"`
	Device     device           `json:"device,omitempty"`
	Original   limit            `json:"original"`
	Low        limit            `json:"low"`
	High       limit            `json:"high"`
	Coupled    map[string]limit `json:"coupled,omitempty"`
	Generation uint64           `json:"generation"`
	BootID     string           `json:"boot_id"`
	Granted    int64            `json:"granted"`
	Deadline   int64            `json:"deadline"`
}

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

// decodeRecord refuses everything that the guard would not have written for k.
func decodeRecord(k knob, text []byte) (record, error) {
	var r record
	if len(text) > maxRecordLength {
		return r, fmt.Errorf("lease record of %d bytes is too long", len(text))
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("lease record: %w", err)
	}
	switch {
	case r.Version != recordVersion:
		return r, fmt.Errorf("lease record of version %d, known is %d", r.Version, recordVersion)
	case r.Low == 0, r.Low > r.High, !k.tightens(uint64(r.Low), uint64(r.Original)), k.tightens(uint64(r.Original), uint64(r.High)):
		return r, fmt.Errorf("lease record with the interval %d to %d, which does not tighten %d", r.Low, r.High, r.Original)
	case k.device() != (r.Device != 0):
		return r, fmt.Errorf("lease record about device %s", r.Device)
	case r.BootID == "":
		return r, errors.New("lease record without a boot id")
	}
	for file := range r.Coupled {
		if file != k.coupled() {
			return r, fmt.Errorf("lease record with the coupled file %q", file)
		}
	}
	return r, nil
}

func (r *record) ours(v uint64) bool {
	return uint64(r.Low) <= v && v <= uint64(r.High)
}

// handsOff is what is left on a cgroup whose knobs another owner rewrote.
type handsOff struct {
	Losses int    `json:"losses"`
	BootID string `json:"boot_id"`
	// Granted is when the lease lost last was: a guard may die between counting a
	// loss and removing the record, and the next one finds it lost again.
	Granted int64 `json:"granted,omitempty"`
}

type leaseKey struct {
	cgroup uint64
	action arc.Action
}

// lease is a knob held away from its original. Its mutex covers everything
// below it and is held while the kernel is written to, so that a write that
// takes long holds up no lease but those of coupled knobs.
type lease struct {
	key      leaseKey
	device   device // of a knob that is one of a device's
	dir      *cgroupfs.Dir
	path     string // where it was at grant, for people
	knob     knob
	observed bool // nothing was ever written

	// deadline is written under mu, but read by patrols that do not wait for it.
	deadline atomic.Int64

	mu        *sync.Mutex // shared with the leases of coupled knobs
	ended     bool
	lost      bool // only the record is left to remove
	record    record
	former    [4]limit // the ends of the intervals before, the latest first; 0 for none
	value     uint64   // last written, or what would be
	exact     bool     // value is known, not only the interval
	written   int64    // when value was written
	rechecked int64    // when the safelist was last asked
	reason    string
}

// ours reports whether the knob still has a value that this guard gave it, or that
// the owner gave it on our word.
func (l *lease) ours(current uint64) bool {
	if l.exact {
		return current == l.value || l.declared(current)
	}
	return l.record.ours(l.knob.canonical(current))
}

// declared reports whether v is the end of the interval that a record declares, or
// declared before: what an owner is told that writes its knobs again now and then
// (internal/mirror). It is no tighter than what is held, so that the write reclaims
// nothing. The original is nobody's word but the owner's.
func (l *lease) declared(v uint64) bool {
	c := limit(l.knob.canonical(v))
	return c != 0 && c != l.record.Original && (c == l.record.High || slices.Contains(l.former[:], c))
}

// declare has a record take the place of the lease's.
func (l *lease) declare(r *record) {
	if r.High != l.record.High {
		copy(l.former[1:], l.former[:])
		l.former[0] = l.record.High
	}
	l.record = *r
}

func (l *lease) target() target { return target{l.dir, l.device} }

// name is the action's, which is the file's where that has only one knob.
func (l *lease) name() string { return l.key.action.String() }

// recordName is the attribute that holds the record of an action's lease.
func recordName(a arc.Action) string { return recordPrefix + a.String() }
