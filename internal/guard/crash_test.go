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
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
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

func TestAGuardKilledAtAnyStepLeavesNothingBehindForTheNext(t *testing.T) {
	const path = "a"
	run := func(g *Guard, m *machine, id uint64) {
		var out arc.Outcome
		g.Act(context.Background(), hold(id, 130*mib), &out)
		m.advance(2 * second)
		g.Act(context.Background(), hold(id, 250*mib), &out) // needs a new interval
		g.Act(context.Background(), releaseOf(id), &out)
	}
	for _, original := range []uint64{arc.Unlimited, 800 * mib} {
		for k := 0; ; k++ {
			m := newMachine(t)
			id := m.cgroup(t, path)
			m.set(t, path, "memory.high", string(cgroupfs.AppendUint(nil, original)))
			g := m.guard(t)
			step, name := 0, ""
			g.fault = func(s string, _ uint64) error {
				if step++; step == k {
					name = s
					panic(crash{})
				}
				return nil
			}
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(crash{}) {
						panic(r)
					}
				}()
				run(g, m, id)
			}()
			if k > 0 && name == "" {
				assert.Greater(t, k, 10, "the run has steps")
				break
			}
			abandon(g)
			if m.high(t, path) != original {
				assert.NotEmpty(t, m.record(id), "killed at step %d (%s): a turned knob has a record", k, name)
			}
			m.change = func(c *Config) { c.BootID = "another boot" }
			next := m.guard(t)
			assert.Equal(t, original, m.high(t, path), "killed at step %d (%s)", k, name)
			assert.Empty(t, m.record(id), "killed at step %d (%s)", k, name)
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
	act(t, g, hold(id, 130*mib))
	m.set(t, "a", "memory.high", bytesOf(700*mib))
	act(t, g, releaseOf(id))
	assert.ElementsMatch(t, faultpoint.Guard, slices.Collect(maps.Keys(passed)))
}
