// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestReleaseGoesDownStepByStepAndTheEpisodeCloses(t *testing.T) {
	g := payment()
	g.leak = between(10*time.Second, 20*time.Second, 50*mb)
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = func(t time.Duration) bool { return t > 10*time.Second && t < 25*time.Second }
	w.run(120 * time.Second)
	assert.Equal(t, []int{1, 2, 1, 0}, w.levels, w.story())
	assert.Equal(t, arc.Unlimited, g.ceiling)
	assert.Len(t, w.of(Closed), 1)
	c := w.policy.decision.Control
	assert.Zero(t, c.Interval)
	assert.False(t, c.LeaseHeld)
	w.run(200 * time.Second)
	assert.False(t, w.policy.decision.Control.Frozen(w.now), "learning goes on after the cool-off")
}

func TestHoldTimeDoublesOnRecurrence(t *testing.T) {
	g := payment()
	leaks := func(t time.Duration) bool {
		return t > 10*time.Second && t < 15*time.Second || t > 90*time.Second && t < 95*time.Second
	}
	g.leak = func(t time.Duration) float64 {
		if leaks(t) {
			return 50 * mb
		}
		return 0
	}
	g.limit, g.anon = 1<<30, 500*mb
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = leaks
	w.run(200 * time.Second)
	var granted, released []int64
	for _, o := range w.of(Answered) {
		switch o.Outcome.Verdict {
		case arc.VerdictGranted:
			granted = append(granted, o.Order.Scheduled)
		case arc.VerdictReleased:
			released = append(released, o.Order.Scheduled)
		}
	}
	require.Len(t, granted, 2, w.story())
	require.Len(t, released, 2, w.story())
	first, second := released[0]-granted[0], released[1]-granted[1]
	assert.Greater(t, second-first, int64(25*time.Second), "held for %s, then for %s", time.Duration(first), time.Duration(second))
}

func TestSamplingSlowsDownOnceContainmentHasSettled(t *testing.T) {
	g, second := payment(), payment()
	second.id, second.path = g.id+1, "/second.service"
	second.leak = func(t time.Duration) float64 {
		if t > 30*time.Second {
			return 50 * mb
		}
		return 0
	}
	w := newWorld(t, DefaultConfig(), g, second)
	w.anomalous = after(10 * time.Second)
	w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, int64(10*time.Millisecond), w.policy.decision.Control.Interval, "while the grant cannot have shown yet")

	w.run(w.since() + 4*time.Second)
	require.Equal(t, LevelContainment, w.policy.decision.Level, w.story())
	assert.Zero(t, w.policy.decision.Control.Interval, "the ceiling needs no faster samples")
	assert.True(t, w.policy.decision.Control.Frozen(w.now), "and still nothing is learned")

	fast := false
	w.runUntil(35*time.Second, func(d *Decision) bool {
		fast = fast || d.Control.Interval != 0 && len(w.policy.leases) == 1
		return fast
	})
	assert.True(t, fast, "somebody else does harm, and is not contained yet: %s", w.story())
}

func TestACeilingMovesAtEveryStepThoughTicksAreLate(t *testing.T) {
	g := payment()
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(10 * time.Second)
	jitter := rand.New(rand.NewPCG(1, 2))
	w.late = func() int64 { return jitter.Int64N(int64(8 * time.Millisecond)) }
	w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	w.run(w.since() + 4*time.Second)
	require.Zero(t, w.policy.decision.Control.Interval, "a tick each StepEvery, and no more")
	last := w.policy.leases[0].stepped
	for range 50 {
		w.tick()
		stepped := w.policy.leases[0].stepped
		require.Greater(t, stepped, last, "no tick is passed over")
		last = stepped
	}
	for range 50 { // somebody samples faster
		w.grow(10 * time.Millisecond)
		w.step(int64(10 * time.Millisecond))
	}
	assert.InDelta(t, 5, float64(w.policy.leases[0].stepped-last)/1e8, 0.5)
	steps := map[int64]bool{}
	for range 100 {
		w.grow(10 * time.Millisecond)
		w.step(int64(10 * time.Millisecond))
		steps[w.policy.leases[0].stepped] = true
	}
	assert.InDelta(t, 10, len(steps), 2, "and the ceiling moves no faster")
}

// A leak that is contained keeps the kernel busy: others then wait for a CPU
// because of it, about which only an observing policy would go on.
func TestWhatIsNotActedUponWantsNoFasterSamples(t *testing.T) {
	for name, c := range map[string]struct {
		spinner uint64
		change  func(*Config)
		fast    bool
	}{
		"the contained one, CPU observed": {11, func(cfg *Config) { cfg.Enforced = Resources(0).With(Memory); cfg.MaxLevel = LevelContainment }, false},
		"the contained one":               {11, func(*Config) {}, false},
		"another one, CPU observed":       {12, func(cfg *Config) { cfg.Enforced = Resources(0).With(Memory) }, false},
		"another one":                     {12, func(*Config) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Settle, cfg.ActionsPerMinute = time.Second, 1 // the ceiling is all there will be
			c.change(&cfg)
			g, other := payment(), spinner(hours)
			g.id, other.id = 11, 12
			if c.spinner == g.id {
				g.cpu, g.tasks, other.cpu, other.tasks = other.cpu, 8, nil, 1
			}
			victim := service()
			victim.id = 13
			w := newWorld(t, cfg, g, other, victim)
			w.anomalous = after(10 * time.Second)
			w.run(25 * time.Second)
			require.Len(t, w.policy.leases, 1, w.story())
			require.Equal(t, Memory, w.policy.leases[0].resource)
			assert.True(t, w.policy.decision.Control.Harm, "others wait: %s", w.story())
			assert.Equal(t, c.fast, w.policy.decision.Control.Interval != 0, w.story())
		})
	}
}

// What was only thought of cannot show: nobody looks for it.
func TestALeaseThatIsOnlyObservedWantsNoFasterSamples(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Enforced = Resources(0).With(Memory)
	g := payment()
	g.cpu, g.tasks = spinner(hours).cpu, 8
	victim := service()
	victim.id = 13
	w := newWorld(t, cfg, g, victim)
	w.anomalous = after(10 * time.Second)
	w.runUntil(20*time.Second, func(*Decision) bool { return len(w.policy.leases) == 1 && w.policy.leases[0].phase == held })
	w.run(w.since() + cfg.Settle + time.Second)
	fast := 0
	observed := w.runUntil(40*time.Second, func(d *Decision) bool {
		if len(w.policy.leases) == 2 && d.Control.Interval != 0 {
			fast++
		}
		return len(w.policy.leases) == 2 && w.policy.leases[1].phase == held && w.now-w.policy.leases[1].granted > int64(cfg.Settle)
	})
	assert.Equal(t, CPU, w.policy.leases[1].resource, "%s: %s", observed, w.story())
	assert.Zero(t, fast, w.story())
}

func TestCulpritThatIsGoneIsReleased(t *testing.T) {
	g := payment()
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(10 * time.Second)
	w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	w.run(w.since() + time.Second)
	g.gone = true
	w.runUntil(20*time.Second, func(d *Decision) bool { return d.Level == LevelWatchful })
	assert.Equal(t, arc.Release, w.orders[len(w.orders)-1].Verb)
}

func TestLostLeaseIsNotFoughtFor(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment())
	w.anomalous = after(10 * time.Second)
	w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	w.refuse = func(o arc.Order) (arc.Outcome, bool) {
		return arc.Outcome{Verdict: arc.VerdictLost, Cause: "memory.high was rewritten"}, true
	}
	w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelWatchful })
	n := len(w.orders)
	w.refuse = nil
	w.group(10).ceiling = arc.Unlimited
	w.run(w.since() + 3*time.Second)
	assert.Len(t, w.orders, n, "not again in this episode")
	assert.Len(t, w.declined(CauseGivenUp), 1)
	m := w.policy.history.find(10)
	require.NotNil(t, m)
	m.lost, m.banned = 2, 0
	w.policy.leases = w.policy.leases[:0]
	w.run(w.since() + 3*time.Second)
	assert.Len(t, w.orders, n, "lost twice: never again")
}

func TestRefusalIsRecordedOnceAndRetriedSlowly(t *testing.T) {
	g := payment()
	g.limit = 4 << 30
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(10 * time.Second)
	w.refuse = func(arc.Order) (arc.Outcome, bool) {
		return arc.Outcome{Verdict: arc.VerdictRefused, Cause: "kill switch"}, true
	}
	w.run(50 * time.Second)
	assert.Len(t, w.of(Answered), 1)
	assert.LessOrEqual(t, len(w.orders), 4)
	assert.Greater(t, len(w.orders), 1, "retried all the same")
	assert.Equal(t, LevelWatchful, w.policy.level)
}

func TestFailingRenewalsEndTheLeaseAtItsDeadline(t *testing.T) {
	g := payment()
	g.leak = from(10*time.Second, 40*mb)
	g.limit = 3 << 30
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(10 * time.Second)
	w.runUntil(25*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	w.run(w.since() + time.Second)
	w.refuse = func(arc.Order) (arc.Outcome, bool) {
		return arc.Outcome{Verdict: arc.VerdictFailed, Cause: "connection refused"}, true
	}
	n := len(w.orders)
	at := w.since()
	w.runUntil(60*time.Second, func(d *Decision) bool { return d.Level == LevelWatchful })
	assert.InDelta(t, 15, (w.since() - at).Seconds(), 1)
	assert.Less(t, len(w.orders)-n, 12, "no storm")
}

// Who is calm from the moment on at which it is held was held for nothing.
func TestWhoWasHeldForNothingLosesNoGrace(t *testing.T) {
	for name, tt := range map[string]struct {
		last     time.Duration
		graceful bool
	}{
		"for nothing":    {600 * time.Millisecond, true},
		"for a while":    {8 * time.Second, false},
		"for a long one": {30 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := payment()
			g.leak = between(10*time.Second, 10*time.Second+tt.last, 50*mb)
			w := newWorld(t, DefaultConfig(), g, neighbour())
			w.anomalous = after(10 * time.Second)
			w.runUntil(20*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
			w.run(3 * time.Minute)
			require.Empty(t, w.policy.leases, w.story())
			m := w.policy.history.find(g.id)
			assert.Equal(t, tt.graceful, m.graceless[Memory] == 0)
			assert.Zero(t, m.graceless[CPU], "what it did to one resource is nothing it did to another")
		})
	}
}
