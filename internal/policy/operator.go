// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// maxHandsOff bounds the hands-off orders in force at a time.
	maxHandsOff = 32
	// MaxReason bounds the reason of one, in bytes: the guard refuses longer ones
	// than 256, and more is said around it.
	MaxReason = 200
)

// HandsOff is an operator's order: give back what is held on a cgroup, and take
// nothing there again for a while.
type HandsOff struct {
	// Cgroup is the kernel's id. Zero is an error unless All is set.
	Cgroup uint64
	// All means every cgroup, those of later too.
	All bool
	// Until is when the order ends (CLOCK_BOOTTIME, ns); 0 is the end of the
	// episode that is open.
	Until int64
	// Reason says who wants it and why, in at most [MaxReason] bytes; it ends up
	// in the release.
	Reason string
}

// handsOff is such an order in force.
type handsOff struct {
	HandsOff
	name    string // of the workload, which may come back in another cgroup
	episode uint64
	obeyed  bool
}

func (h *handsOff) covers(id uint64, name string) bool {
	return h.All || h.Cgroup == id || name != "" && h.name == name
}

// Release takes an operator's order. The next Step orders back what is held;
// until the order ends nothing new is held there, which is recorded as
// [CauseOperator]. A newer order about the same cgroup replaces the older.
func (p *Policy) Release(o HandsOff) error {
	switch {
	case o.Cgroup == 0 && !o.All:
		return errors.New("the order names no cgroup")
	case o.Until == 0 && p.level == LevelNormal:
		return errors.New("no episode is open: say for how long to keep hands off")
	case len(o.Reason) > MaxReason:
		return fmt.Errorf("the reason has %d bytes, at most %d are allowed", len(o.Reason), MaxReason)
	}
	h := handsOff{HandsOff: o, episode: p.episode}
	if m := p.history.find(o.Cgroup); m != nil && !o.All {
		h.name = m.name
	}
	for i := range p.operator {
		if old := &p.operator[i]; old.All == o.All && old.Cgroup == o.Cgroup {
			*old = h
			return nil
		}
	}
	if len(p.operator) == maxHandsOff {
		return fmt.Errorf("%d such orders are in force, no more are kept: release everything, or wait for one to end", maxHandsOff)
	}
	p.operator = append(p.operator, h)
	return nil
}

// obey orders back what an operator wants back, and forgets what is over.
func (p *Policy) obey(s *arc.Sample) {
	kept := p.operator[:0]
	for i := range p.operator {
		h := &p.operator[i]
		if !h.obeyed {
			p.giveBack(h, s)
			h.obeyed = true
		}
		if h.Until > s.Taken || h.Until == 0 && h.episode == p.episode && p.level > LevelNormal {
			kept = append(kept, *h)
		}
	}
	clear(p.operator[len(kept):])
	p.operator = kept
}

func (p *Policy) giveBack(h *handsOff, s *arc.Sample) {
	for i := range p.leases {
		if l := &p.leases[i]; l.phase != releasing && h.covers(l.cgroup, "") {
			p.release(l, s, h.Reason)
		}
	}
}

// leftAlone says that an operator wants nothing held on a cgroup.
func (p *Policy) leftAlone(id uint64, name string) bool {
	for i := range p.operator {
		if p.operator[i].covers(id, name) {
			return true
		}
	}
	return false
}
