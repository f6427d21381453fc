// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// stuck is a guard with leases on a to d, of which a's is in the middle of a
// write that does not return before free is called.
func stuck(t *testing.T, m *machine) (g *Guard, free func()) {
	t.Helper()
	ids := map[string]uint64{}
	for _, name := range []string{"a", "b", "c", "d"} {
		ids[name] = m.cgroup(t, name)
	}
	g = m.guard(t)
	for _, id := range ids {
		require.Equal(t, arc.VerdictGranted, act(t, g, hold(id, 130*mib)).Verdict)
	}
	entered, freed, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.fault = func(step string, id uint64) error {
		if step == "knob" && id == ids["a"] {
			once.Do(func() { close(entered) })
			<-freed
		}
		return nil
	}
	m.advance(second)
	go func() {
		defer close(done)
		var out arc.Outcome
		_ = g.Act(t.Context(), hold(ids["a"], 140*mib), &out)
	}()
	<-entered
	free = sync.OnceFunc(func() { close(freed); <-done })
	t.Cleanup(free)
	return g, free
}

func TestAWriteThatBlocksKeepsNoOtherLease(t *testing.T) {
	for name, stop := range map[string]func(*Guard){
		"released": func(g *Guard) { _ = g.ReleaseAll("test") },
		"closed":   func(g *Guard) { _ = g.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			g, free := stuck(t, m)
			done := make(chan struct{})
			go func() { defer close(done); stop(g) }()
			for _, other := range []string{"b", "c", "d"} {
				require.Eventually(t, func() bool {
					text, err := os.ReadFile(m.dir + "/" + other + "/memory.high")
					return err == nil && string(text) == "max\n"
				}, 10*time.Second, time.Millisecond, other)
			}
			free()
			<-done
			assert.Equal(t, arc.Unlimited, m.high(t, "a"), "and it is waited for")
		})
	}
}

func TestAGuardWithAWriteThatBlocksShowsItsStatus(t *testing.T) {
	g, _ := stuck(t, newMachine(t))
	busy := 0
	for _, l := range g.Status().Leases {
		if l.Busy {
			busy++
		}
	}
	assert.Equal(t, 1, busy)
}

func TestAGuardThatCannotEndALeaseFeedsNoWatchdog(t *testing.T) {
	m := newMachine(t)
	fed := 0
	m.change = func(c *Config) { c.OnPatrol = func(int64) { fed++ } }
	for _, killed := range []bool{false, true} {
		g, free := stuck(t, m)
		fed = 0
		g.round()
		assert.Equal(t, 1, fed, "before its deadline it may take its time")
		due := 14 * second // one is over
		if killed {
			require.NoError(t, os.WriteFile(m.kill, nil, 0o600))
			g.round()
			due = 0
		}
		m.advance(due + hungAfter)
		fed = 0
		g.round()
		assert.Equal(t, 1, fed)
		m.advance(second)
		g.round()
		assert.Equal(t, 1, fed, "the supervisor is to replace it")
		free()
		g.round()
		assert.Equal(t, 2, fed)
		require.NoError(t, g.Close())
	}
}
