// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// margin is the real guard's default: what it keeps free above memory that cannot
// be reclaimed.
const margin = 16 << 20

// guard grants what the real one would, from the sample at hand, and holds it
// until it is released or runs out. It answers at the next tick.
type guard struct {
	leases  map[leaseKey]lease
	waiting []answer
}

type leaseKey struct {
	cgroup uint64
	action arc.Action
}

type lease struct {
	original, value uint64
	deadline        int64
}

type answer struct {
	order   arc.Order
	outcome arc.Outcome
}

func newGuard() *guard { return &guard{leases: map[leaseKey]lease{}} }

// act carries an order out and keeps the answer.
func (g *guard) act(o arc.Order, s *arc.Sample) {
	g.waiting = append(g.waiting, answer{o, g.carryOut(o, s)})
}

func (g *guard) carryOut(o arc.Order, s *arc.Sample) arc.Outcome {
	key := leaseKey{o.Cgroup, o.Action}
	held, known := g.leases[key]
	row := slices.Index(s.Cgroups.ID, o.Cgroup)
	switch {
	case o.Verb == arc.Release || row < 0:
		delete(g.leases, key)
		return arc.Outcome{Verdict: arc.VerdictReleased, Original: held.original, Value: held.original, Written: s.Taken}
	case known:
		held.value = max(held.value, o.Parameter)
		if o.Action != arc.ActionMemoryHigh {
			held.value = o.Parameter
		}
		held.deadline = s.Taken + o.TTL
		g.leases[key] = held
		return arc.Outcome{Verdict: arc.VerdictHeld, Original: held.original, Value: held.value, Written: s.Taken, Deadline: held.deadline}
	}
	l := lease{original: arc.Unlimited, value: o.Parameter, deadline: s.Taken + o.TTL}
	if o.Action == arc.ActionMemoryHigh {
		if high := s.Cgroups.Value(arc.CgroupMemoryHigh, row); high != arc.Absent {
			l.original = high
		}
		floor := memoryFloor(&s.Cgroups, row)
		if most := s.Cgroups.Value(arc.CgroupMemoryMax, row); floor >= most {
			return arc.Outcome{Verdict: arc.VerdictRefused, Cause: "the floor leaves no room below memory.max"}
		}
		if l.value = cgroupfs.PageUp(max(floor, o.Parameter)); l.value >= l.original {
			return arc.Outcome{Verdict: arc.VerdictRefused, Cause: "that tightens nothing"}
		}
	}
	g.leases[key] = l
	return arc.Outcome{Verdict: arc.VerdictGranted, Original: l.original, Value: l.value, Written: s.Taken, Deadline: l.deadline}
}

// memoryFloor is the least memory.high that the guard sets.
func memoryFloor(s *arc.Sweep, row int) uint64 {
	usage := s.Value(arc.CgroupMemoryUsage, row)
	firm := usage
	if v := s.Value(arc.CgroupMemoryUnreclaimable, row); v != arc.Absent {
		firm = min(v, usage)
	}
	return max(usage, firm+margin)
}

// expire ends what has run out.
func (g *guard) expire(now int64) {
	for key, l := range g.leases {
		if now > l.deadline {
			delete(g.leases, key)
		}
	}
}

// ceiling is the memory.high that is held on a cgroup, [arc.Unlimited] for none.
func (g *guard) ceiling(id uint64) uint64 {
	if l, ok := g.leases[leaseKey{id, arc.ActionMemoryHigh}]; ok {
		return l.value
	}
	return arc.Unlimited
}

// holds says that one of the actions is held on a cgroup.
func (g *guard) holds(id uint64, actions ...arc.Action) bool {
	for _, a := range actions {
		if _, ok := g.leases[leaseKey{id, a}]; ok {
			return true
		}
	}
	return false
}
