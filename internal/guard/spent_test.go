// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestAHoldWhoseLeaseHasBeenIsNeverGrantedAgain(t *testing.T) {
	ended := map[string]func(t *testing.T, m *machine, g *Guard, o arc.Order){
		"released": func(t *testing.T, _ *machine, g *Guard, o arc.Order) {
			t.Helper()
			o.Verb = arc.Release
			act(t, g, o)
		},
		"released by an operator": func(t *testing.T, _ *machine, g *Guard, o arc.Order) {
			t.Helper()
			o.Verb, o.Generation = arc.Release, uint64(2000*second)
			act(t, g, o)
		},
		"expired": func(_ *testing.T, m *machine, g *Guard, o arc.Order) {
			m.advance(o.TTL)
			g.Patrol()
		},
		"lost": func(t *testing.T, m *machine, g *Guard, o arc.Order) {
			t.Helper()
			m.set(t, "a", "memory.high", bytesOf(110*mib))
			o.Verb = arc.Release
			act(t, g, o)
			m.set(t, "a", "memory.high", "max")
		},
		"ended by the kill switch": func(t *testing.T, m *machine, g *Guard, _ arc.Order) {
			t.Helper()
			require.NoError(t, os.WriteFile(m.kill, nil, 0o600))
			g.Patrol()
			require.NoError(t, os.Remove(m.kill))
		},
		"ended with its renewals": func(t *testing.T, m *machine, g *Guard, o arc.Order) {
			t.Helper()
			renewed := later(o, 3)
			m.advance(second)
			require.NotEqual(t, arc.VerdictRefused, act(t, g, renewed).Verdict)
			renewed.Verb = arc.Release
			act(t, g, renewed)
			renewed.Verb = arc.Hold
			assert.Equal(t, arc.VerdictRefused, act(t, g, renewed).Verdict, "what was renewed with is over too")
		},
	}
	for name, end := range ended {
		for _, observe := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				m := newMachine(t)
				id := m.cgroup(t, "a")
				g := m.guard(t)
				o := hold(id, 130*mib)
				o.Observe = observe
				require.NotEqual(t, arc.VerdictRefused, act(t, g, o).Verdict)
				end(t, m, g, o)
				require.Empty(t, g.Status().Leases)
				for range 2 {
					out := act(t, g, o)
					assert.Equal(t, arc.VerdictRefused, out.Verdict)
					assert.Equal(t, arc.Unlimited, m.high(t, "a"))
					m.advance(3600 * second) // and time changes nothing about it
				}
				assert.NotEqual(t, arc.VerdictRefused, act(t, g, later(o, uint64(3000*second))).Verdict, "what is decided anew is another")
			})
		}
	}
}

func TestWhatWasDecidedBeforeAGuardStartedIsNotGranted(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	first, err := New(m.config())
	require.NoError(t, err)
	first.safe.procs = m.procs
	m.advance(second)
	o := hold(id, 130*mib)
	o.Generation = uint64(m.now())
	require.Equal(t, arc.VerdictGranted, act(t, first, o).Verdict)
	release := o
	release.Verb = arc.Release
	act(t, first, release) // nothing on the cgroup tells of it any more
	unused := later(o, 1)
	abandon(first)

	next, err := New(m.config())
	require.NoError(t, err)
	next.safe.procs = m.procs
	defer next.Close()
	m.advance(second)
	for _, old := range []arc.Order{o, unused} {
		out := act(t, next, old)
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Equal(t, string(errSpent), out.Cause)
	}
	o.Generation = uint64(m.now())
	assert.Equal(t, arc.VerdictGranted, act(t, next, o).Verdict)
}

func TestAHoldFromTheFutureIsRefused(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	o := hold(id, 130*mib)
	for _, generation := range []uint64{uint64(m.now() + ahead + 1), math.MaxInt64, math.MaxUint64} {
		o.Generation = generation
		out := act(t, g, o)
		assert.Equal(t, arc.VerdictRefused, out.Verdict, generation)
		assert.Contains(t, out.Cause, "yet to come")
	}
	o.Generation = uint64(m.now() + ahead)
	assert.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
	assert.Equal(t, arc.VerdictRefused, act(t, g, later(o, 1)).Verdict, "neither is it renewed by one")
}

func TestARecordOfAnotherBootShutsNobodyOut(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	o := hold(id, 130*mib)
	o.Generation = uint64(m.now())
	act(t, g, o)
	abandon(g)
	m.clock.Store(second)
	m.change = func(c *Config) { c.BootID = "another boot" }
	next, err := New(m.config())
	require.NoError(t, err)
	next.safe.procs = m.procs
	defer next.Close()
	m.advance(second)
	o.Generation = uint64(m.now())
	assert.Equal(t, arc.VerdictGranted, act(t, next, o).Verdict)
}

func TestWhatIsForgottenIsStillOver(t *testing.T) {
	var s spent
	for i := range uint64(3 * maxSpent) {
		s.add(leaseKey{cgroup: i + 1}, 10*(i+1))
		s.add(leaseKey{cgroup: i + 1}, 10*(i+1)-5) // an older one takes nothing back
	}
	assert.Len(t, s.generations, maxSpent)
	for i := range uint64(3 * maxSpent) {
		assert.True(t, s.has(leaseKey{cgroup: i + 1}, 10*(i+1)), i)
	}
	newest := leaseKey{cgroup: 3 * maxSpent}
	assert.False(t, s.has(newest, 10*3*maxSpent+1))
	assert.False(t, s.has(leaseKey{cgroup: 1 << 40}, 10*2*maxSpent+1), "nobody else is shut out who was decided later than the forgotten")
	assert.True(t, s.has(leaseKey{cgroup: 1 << 40}, 10*2*maxSpent))
}
