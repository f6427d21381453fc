// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/faultpoint"
)

// crash is what a test throws through the guard to stop it between two
// instructions, as SIGKILL would.
type crash struct{}

// abandon forgets a guard without letting it do anything.
func abandon(g *Guard) {
	g.mu.Lock()
	g.closed, g.books = true, [2]map[leaseKey]*lease{{}, {}}
	g.mu.Unlock()
	g.root.Close()
	g.unlock()
}

// dies does something and says whether it ended in a crash.
func dies(do func()) (died bool) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case any(crash{}):
			died = true
		default:
			panic(r)
		}
	}()
	do()
	return false
}

// dieAt lets a guard do something and die at its k-th step, which is named; "" if
// there are fewer.
func dieAt(g *Guard, k int, do func()) (name string) {
	step := 0
	g.fault = func(s string, _ uint64) error {
		if step++; step == k {
			name = s
			panic(crash{})
		}
		return nil
	}
	dies(do)
	return name
}

func TestAGuardKilledAtAnyStepLeavesNothingBehindForTheNext(t *testing.T) {
	for _, c := range asked {
		run := func(g *Guard, m *machine, id uint64) {
			var out arc.Outcome
			g.Act(context.Background(), order(id, c.action, c.first), &out)
			m.advance(2 * second)
			g.Act(context.Background(), order(id, c.action, c.next), &out)
			m.advance(2 * second)
			g.Act(context.Background(), order(id, c.action, arc.Unlimited-1), &out) // needs a new interval
			g.Act(context.Background(), releaseOrder(id, c.action), &out)
		}
		for k := 1; ; k++ {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			before := m.files(t, "a")
			g := m.guard(t)
			name := dieAt(g, k, func() { run(g, m, id) })
			if name == "" {
				assert.Greater(t, k, 10, "the run has steps")
				break
			}
			abandon(g)
			if m.get(t, "a", c.file) != before[c.file] {
				assert.NotEmpty(t, m.records(id), "%s: killed at step %d (%s): a turned knob has a record", c.action, k, name)
			}
			m.change = func(c *Config) { c.BootID = "another boot" }
			next := m.guard(t)
			assert.Equal(t, before, m.files(t, "a"), "%s: killed at step %d (%s)", c.action, k, name)
			assert.Empty(t, m.records(id), "%s: killed at step %d (%s)", c.action, k, name)
			assert.Empty(t, next.Status().Losses)
			require.NoError(t, next.Close())
		}
	}
}

func TestAForeignValueSurvivesTheNextGuard(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	abandon(g)
	m.set(t, "a", "memory.high", bytesOf(700*mib))
	next := m.guard(t)
	assert.Equal(t, 700*mib, m.high(t, "a"))
	assert.Empty(t, m.record(id))
	assert.Equal(t, []Loss{{Cgroup: id, Times: 1}}, next.Status().Losses)
}

func TestWhatCannotBeGivenBackIsTriedAgain(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	g.fault = func(string, uint64) error { return errors.New("not now") }
	out := act(t, g, releaseOf(id))
	assert.Equal(t, arc.VerdictFailed, out.Verdict)
	assert.Contains(t, out.Cause, "not now")
	assert.NotEmpty(t, m.record(id))
	g.Patrol()
	assert.Equal(t, 130*mib, m.high(t, "a"))
	g.fault = nil
	g.Patrol()
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Empty(t, m.record(id))
}

func TestALossIsCountedOnceWhereverTheGuardDies(t *testing.T) {
	for _, at := range []string{"loss", "remove", "removed"} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		act(t, g, hold(id, 130*mib))
		m.set(t, "a", "memory.high", bytesOf(700*mib))
		g.fault = func(step string, _ uint64) error {
			if step == at {
				panic(crash{})
			}
			return nil
		}
		assert.PanicsWithValue(t, crash{}, func() {
			var out arc.Outcome
			_ = g.Act(context.Background(), releaseOf(id), &out)
		})
		abandon(g)
		next := m.guard(t)
		assert.Equal(t, []Loss{{Cgroup: id, Times: 1}}, next.Status().Losses, "killed at %s", at)
		require.NoError(t, next.Close())
	}
}

func TestTheStepsOfALeaseAreThoseListed(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	passed := map[string]bool{}
	g.fault = func(step string, _ uint64) error { passed[step] = true; return nil }
	act(t, g, hold(id, 130*mib))
	act(t, g, releaseOf(id))
	act(t, g, later(hold(id, 130*mib), 1))
	m.set(t, "a", "memory.high", bytesOf(700*mib))
	act(t, g, later(releaseOf(id), 1))
	assert.ElementsMatch(t, faultpoint.Guard, slices.Collect(maps.Keys(passed)))
}
