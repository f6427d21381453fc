// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestAHoldIsNotGrantedAfterItsRelease(t *testing.T) {
	for _, observe := range []bool{false, true} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		late, release := hold(id, 130*mib), releaseOf(id)
		late.Observe, release.Observe = observe, observe
		act(t, g, release)
		assert.Equal(t, arc.VerdictRefused, act(t, g, late).Verdict)
		assert.Equal(t, arc.Unlimited, m.high(t, "a"))
		late.Generation++
		assert.NotEqual(t, arc.VerdictRefused, act(t, g, late).Verdict, "the next one is another")
	}
}

func TestAHoldThatWaitedForItsLeaseIsNotGrantedAfterItsRelease(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	o := hold(id, 130*mib)
	act(t, g, o)
	l := g.find(leaseKey{id, o.Action}, false)
	act(t, g, releaseOf(id))
	var out arc.Outcome
	_, done := g.hold(l, &o, &out)
	require.False(t, done, "it is planned anew")
	_, wait := g.grant(t.Context(), l.knob, &o, &out)
	require.Nil(t, wait)
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Equal(t, string(errSpent), out.Cause)
	o.Generation++
	_, _ = g.grant(t.Context(), l.knob, &o, &out)
	assert.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
}

func TestAHoldThatNobodyWaitsForIsNotGranted(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out arc.Outcome
	o := hold(id, 130*mib)
	g.act(ctx, byCollector, &o, &out)
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
}

func TestOnlySoManyEarlyReleasesAreRemembered(t *testing.T) {
	var table overtaken
	for i := range uint64(3 * maxOvertaken) {
		table.add(leaseKey{cgroup: i + 1}, 7)
		table.add(leaseKey{cgroup: i + 1}, 5)
	}
	assert.Len(t, table.generations, maxOvertaken)
	assert.Equal(t, uint64(7), table.generations[leaseKey{cgroup: 3 * maxOvertaken}])
}

func TestAnOwnerWhoIsQuickerThanTheWriteIsNotOverwritten(t *testing.T) {
	for _, step := range []string{"record", "record written", "look"} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		g.fault = func(s string, _ uint64) error {
			if s == step {
				g.fault = nil
				m.set(t, "a", "memory.high", bytesOf(110*mib))
			}
			return nil
		}
		out := act(t, g, hold(id, 130*mib))
		assert.Equal(t, arc.VerdictLost, out.Verdict, step)
		assert.Equal(t, 110*mib, out.Value)
		assert.Equal(t, 110*mib, m.high(t, "a"), step)
		assert.Empty(t, m.record(id), step)
		assert.Empty(t, g.Status().Leases)
	}
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	m.advance(second)
	g.fault = func(s string, _ uint64) error {
		if s == "look" {
			g.fault = nil
			m.set(t, "a", "memory.high", bytesOf(110*mib))
		}
		return nil
	}
	assert.Equal(t, arc.VerdictLost, act(t, g, hold(id, 140*mib)).Verdict)
	assert.Equal(t, 110*mib, m.high(t, "a"))
	assert.Empty(t, m.record(id))
}
