// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// hundred is a sample with cgroup 7: 100 MiB of 200, of which 90 cannot be reclaimed.
func hundred(now int64) *arc.Sample {
	s := &arc.Sample{Taken: now}
	row := s.Cgroups.Append(7, 0)
	s.Cgroups.Set(arc.CgroupMemoryUsage, row, 100*mib)
	s.Cgroups.Set(arc.CgroupMemoryUnreclaimable, row, 90*mib)
	s.Cgroups.Set(arc.CgroupMemoryMax, row, 200*mib)
	s.Cgroups.Set(arc.CgroupMemoryHigh, row, arc.Unlimited)
	return s
}

func TestTheGuardGrantsWhatTheRealOneWould(t *testing.T) {
	g := newGuard()
	order := arc.Order{Cgroup: 7, Action: arc.ActionMemoryHigh, Parameter: 50 * mib, TTL: 15e9}
	out := g.carryOut(order, hundred(1e9))
	assert.Equal(t, arc.Outcome{
		Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: 106 * mib, Written: 1e9, Deadline: 16e9,
	}, out, "no lower than unreclaimable memory and a margin")
	assert.Equal(t, 106*mib, g.ceiling(7))

	out = g.carryOut(order, hundred(2e9))
	assert.Equal(t, arc.VerdictHeld, out.Verdict)
	assert.Equal(t, 106*mib, out.Value, "it only rises")
	order.Parameter = 120 * mib
	out = g.carryOut(order, hundred(3e9))
	assert.Equal(t, 120*mib, out.Value)
	assert.Equal(t, int64(18e9), out.Deadline)

	g.expire(18e9)
	assert.True(t, g.holds(7, arc.ActionMemoryHigh))
	g.expire(18e9 + 1)
	assert.Equal(t, arc.Unlimited, g.ceiling(7), "it ends by itself")

	require.Equal(t, arc.VerdictGranted, g.carryOut(order, hundred(20e9)).Verdict)
	order.Verb = arc.Release
	assert.Equal(t, arc.VerdictReleased, g.carryOut(order, hundred(21e9)).Verdict)
	assert.False(t, g.holds(7, arc.ActionMemoryHigh))

	order.Verb = arc.Hold
	full := hundred(22e9)
	full.Cgroups.Set(arc.CgroupMemoryMax, 0, 105*mib)
	assert.Equal(t, arc.VerdictRefused, g.carryOut(order, full).Verdict)
	low := hundred(22e9)
	low.Cgroups.Set(arc.CgroupMemoryHigh, 0, 110*mib)
	assert.Equal(t, arc.VerdictRefused, g.carryOut(order, low).Verdict, "that would loosen")
	order.Cgroup = 8
	assert.Equal(t, arc.VerdictReleased, g.carryOut(order, hundred(22e9)).Verdict, "it is gone")
}

// A lease that is answered is renewed; one that is not runs out, and is recorded
// as such.
func TestOrdersAreAnsweredAtTheNextTick(t *testing.T) {
	tape := machine(6, 6000)
	s := Replay(tape)
	w, err := newWatch(s)
	require.NoError(t, err)
	p := newSplice(Faults()[0], tape, 4000, []uint64{11}, w.guard)
	grants, held := 0, 0
	for {
		sample, _ := s.Next()
		if sample == nil {
			break
		}
		p.apply(sample)
		w.tick(sample)
		grants += len(w.granted)
		if w.guard.holds(11, arc.ActionMemoryHigh) {
			held++
		}
	}
	assert.Equal(t, 1, grants, "one lease")
	assert.Greater(t, held, 1500, "that was held for minutes, or as long as the headroom lasted")
	assert.False(t, p.spent)
}
