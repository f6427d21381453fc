// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// What the owner was told, by internal/mirror, it may write at any time.
func TestWhatTheOwnerWasToldIsNoLoss(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	at := func(high uint64, by uint64) arc.Outcome {
		m.advance(second)
		return act(t, g, later(hold(id, high), by))
	}
	require.Equal(t, arc.VerdictGranted, at(130*mib, 0).Verdict)
	first := g.Leases()[0]
	require.Equal(t, 130*mib, first.Value)
	require.Equal(t, 194*mib, first.Declared)
	assert.Equal(t, first, g.Status().Leases[0])

	m.set(t, "a", "memory.high", bytesOf(first.Declared))
	assert.Equal(t, arc.VerdictHeld, at(140*mib, 1).Verdict)
	assert.Equal(t, 140*mib, m.high(t, "a"), "it is what it was to be")

	require.Equal(t, arc.VerdictHeld, at(200*mib, 2).Verdict)
	next := g.Leases()[0]
	require.Equal(t, 264*mib, next.Declared)
	m.set(t, "a", "memory.high", bytesOf(first.Declared)) // who was told a while ago
	assert.Equal(t, arc.VerdictHeld, at(200*mib, 3).Verdict)
	assert.Equal(t, 200*mib, m.high(t, "a"))

	m.set(t, "a", "memory.high", bytesOf(next.Declared))
	assert.Equal(t, arc.VerdictReleased, act(t, g, later(releaseOf(id), 4)).Verdict)
	assert.Equal(t, "max", m.get(t, "a", "memory.high"))
	assert.Empty(t, g.Status().Losses)
}

// Nobody was told any other value of the interval, and the original is the owner's own.
func TestOnlyWhatTheOwnerWasToldIsNoLoss(t *testing.T) {
	for name, high := range map[string]uint64{"within the interval": 150 * mib, "the original": 190 * mib} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			m.set(t, "a", "memory.high", bytesOf(190*mib))
			g := m.guard(t)
			require.Equal(t, arc.VerdictGranted, act(t, g, hold(id, 130*mib)).Verdict)
			require.Equal(t, 190*mib, g.Leases()[0].Declared, "no further than the original")
			m.set(t, "a", "memory.high", bytesOf(high))
			assert.Equal(t, arc.VerdictLost, act(t, g, later(hold(id, 130*mib), 1)).Verdict)
		})
	}
}

// systemd keeps whole percents of a CPU.
func TestACapOnCPUTimeIsWholePercents(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	require.Equal(t, arc.VerdictGranted, act(t, g, order(id, arc.ActionCPUMax, 333_333)).Verdict)
	assert.Equal(t, "34000 100000", m.get(t, "a", "cpu.max"))
}
