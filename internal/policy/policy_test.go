// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestLeakIsContainedWithinASecondAndStaysAlive(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment(), neighbour())
	w.anomalous = after(10*time.Second + 150*time.Millisecond)
	at := w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Less(t, at, 10*time.Second+600*time.Millisecond, "from onset to order, in two decisions")
	assert.Equal(t, []int{1, 2}, w.levels)
	require.Len(t, w.orders, 1)
	o := w.orders[0]
	assert.Equal(t, uint64(10), o.Cgroup)
	assert.Equal(t, arc.ActionMemoryHigh, o.Action)
	assert.False(t, o.Observe)
	assert.GreaterOrEqual(t, o.Parameter, uint64(w.usage(w.group(10))), "never below usage at grant")
	assert.Equal(t, int64(15*time.Second), o.TTL)
	assert.NotZero(t, o.Generation)

	w.run(70 * time.Second)
	assert.False(t, w.group(10).gone, "alive a minute later: %s", w.story())
	answered := w.of(Answered)
	require.Len(t, answered, 1, "renewals are no events")
	assert.Equal(t, arc.VerdictGranted, answered[0].Outcome.Verdict)
	assert.Equal(t, HarmLimit, answered[0].Harm.Kind)
	for _, o := range w.orders {
		assert.Equal(t, uint64(10), o.Cgroup, "the neighbour is never touched")
	}
}

func TestCeilingOnlyRisesAndNotMoreOftenThanItsStep(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment())
	w.anomalous = after(10 * time.Second)
	w.run(60 * time.Second)
	require.Greater(t, len(w.orders), 20)
	for i := 1; i < len(w.orders); i++ {
		assert.GreaterOrEqual(t, w.orders[i].Parameter, w.orders[i-1].Parameter)
		assert.GreaterOrEqual(t, w.orders[i].Scheduled-w.orders[i-1].Scheduled, int64(95*time.Millisecond))
		assert.Equal(t, w.orders[0].Generation, w.orders[i].Generation)
		assert.Less(t, w.orders[i].Parameter, uint64(2<<30), "never at the limit")
		if w.orders[i].Scheduled-w.orders[i-1].Scheduled < int64(DefaultConfig().Renew) {
			assert.GreaterOrEqual(t, w.orders[i].Parameter-w.orders[i-1].Parameter, w.orders[i-1].Parameter>>leastMove, "worth a write")
		}
	}
	rate := func(from, to arc.Order) float64 {
		return float64(to.Parameter-from.Parameter) / (float64(to.Scheduled-from.Scheduled) / 1e9)
	}
	assert.InDelta(t, 6.5*mb, rate(w.orders[0], w.orders[15]), 0.7*mb, "generous at first")
	last := len(w.orders) - 1
	line := (7.0 / 8) * 820 * mb / (600 - 17)
	assert.InDelta(t, line, rate(w.orders[last-4], w.orders[last]), 0.1*line, "then a straight line to the limit")
}

func TestHeadroomLastsForTheTimeBought(t *testing.T) {
	w := newWorld(t, DefaultConfig(), &group{id: 10, path: "/a.service", limit: 4 * gb, anon: 2.5 * gb, leak: from(time.Second, 100*mb)})
	w.anomalous = after(time.Second)
	w.run(9 * time.Minute)
	assert.False(t, w.group(10).gone, w.story())
	assert.Empty(t, w.of(Announced), "headroom is not spent before buy_time")
}

func TestSpentHeadroomIsAnnouncedThenReleased(t *testing.T) {
	g := &group{id: 10, path: "/a.service", limit: 400 * mb, anon: 300 * mb}
	cfg := DefaultConfig()
	cfg.BuyTime = 2 * time.Minute
	w := newWorld(t, cfg, g)
	spent := func() bool { return len(w.of(Announced)) > 0 }
	g.leak = func(t time.Duration) float64 {
		switch {
		case t < time.Second:
			return 0
		case spent(): // what is left would last past the time a release settles
			return 0.3 * mb
		}
		return 20 * mb
	}
	w.anomalous = after(time.Second)
	w.runUntil(5*time.Minute, func(*Decision) bool { return spent() })
	announced := len(w.orders)
	assert.Equal(t, arc.Hold, w.orders[announced-1].Verb, "announced before it happens")
	w.runUntil(6*time.Minute, func(*Decision) bool { return len(w.orders) > announced })
	assert.Equal(t, arc.Release, w.orders[announced].Verb)
	w.run(w.since() + 10*time.Second)
	assert.Len(t, w.orders, announced+1, "not contained again in this episode")
	assert.Len(t, w.declined(CauseGivenUp), 1)
	assert.True(t, g.gone, "the kernel's own limit decides")
}

func TestEndingHoldKeepsTheCeiling(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Ending, cfg.BuyTime = EndingHold, 2*time.Minute
	w := newWorld(t, cfg, &group{id: 10, path: "/a.service", limit: 400 * mb, anon: 300 * mb, leak: from(time.Second, 20*mb)})
	w.anomalous = after(time.Second)
	w.runUntil(5*time.Minute, func(d *Decision) bool { return len(w.of(Announced)) > 0 })
	w.run(w.since() + 20*time.Second)
	assert.Len(t, w.of(Announced), 1)
	assert.Equal(t, arc.Hold, w.orders[len(w.orders)-1].Verb)
	assert.Equal(t, LevelContainment, w.policy.level)
}

func TestNoOrderWithoutItsThreeReasons(t *testing.T) {
	always := func(time.Duration) bool { return true }
	for name, tt := range map[string]struct {
		groups    []*group
		anomalous func(time.Duration) bool
		prepare   func(w *world)
		cause     Cause
		level     int
	}{
		"no anomaly": {
			groups: []*group{payment()}, anomalous: func(time.Duration) bool { return false }, level: 0,
		},
		"an anomaly that does not persist": {
			groups:    []*group{payment()},
			anomalous: func(t time.Duration) bool { return t > 11*time.Second && t < 11*time.Second+101*time.Millisecond },
			level:     1,
		},
		"no harm: the leak is far from every limit": {
			groups:    []*group{{id: 10, path: "/a.service", anon: gb, leak: from(0, 50*mb)}},
			anomalous: always, cause: CauseNoHarm, level: 1,
		},
		"no harm: nothing grows": {
			groups: []*group{neighbour()}, anomalous: always, cause: CauseNoHarm, level: 1,
		},
		"no culprit: others stall but nobody grows": {
			groups: []*group{neighbour()}, anomalous: always, cause: CauseNoCulprit, level: 1,
			prepare: func(w *world) { w.stall = func(time.Duration) float64 { return 0.5 } },
		},
		"two equal growers within one limit": {
			groups: []*group{
				{id: 2, path: "/pod.slice", limit: 3 * gb},
				{id: 10, parent: 2, path: "/pod.slice/a.service", anon: gb, leak: from(0, 50*mb)},
				{id: 11, parent: 2, path: "/pod.slice/b.service", anon: gb, leak: from(0, 50*mb)},
			}, anomalous: always, cause: CauseMargin, level: 1,
		},
		"the fastest grower is on the safelist": {
			groups: []*group{
				{id: 2, path: "/system.slice"},
				{id: 10, parent: 2, path: "/system.slice/sshd.service", limit: 2 * gb, anon: gb, leak: from(0, 50*mb)},
				{id: 11, parent: 2, path: "/system.slice/b.service", anon: 1.5 * gb, leak: from(0, 10*mb)},
			}, anomalous: always, cause: CauseProtected, level: 1,
		},
		"the fastest grower is the collector": {
			groups: []*group{
				{id: 2, path: "/reflex.slice"},
				{id: 10, parent: 2, path: "/reflex.slice/collector.service", limit: 2 * gb, anon: gb, leak: from(0, 50*mb)},
			}, anomalous: always, cause: CauseProtected, level: 1,
		},
		"page cache grows": {
			groups:    []*group{{id: 10, path: "/backup.service", limit: 4 * gb, anon: 100 * mb, read: from(0, 100*mb)}},
			anomalous: always, cause: CausePageCache, level: 1,
		},
		"it has no process": {
			groups:    []*group{{id: 10, path: "/a.service", limit: 2 * gb, anon: gb, leak: from(0, 50*mb), empty: true}},
			anomalous: always, cause: CauseProtected, level: 1,
		},
		"its own memory.high is as low": {
			groups:    []*group{{id: 10, path: "/a.service", limit: 2 * gb, high: gb, anon: gb, leak: from(0, 50*mb)}},
			anomalous: always, cause: CauseLimited, level: 1,
		},
		"it slows down by itself": {
			groups: []*group{{id: 10, path: "/a.service", limit: 2 * gb, anon: gb, leak: func(t time.Duration) float64 {
				return 50 * mb * math.Exp(-t.Seconds()/5)
			}}}, anomalous: after(2 * time.Second), level: 1,
			prepare: func(w *world) { w.velocity = -1 },
		},
		"a batch job that has just started": {
			groups:    []*group{{id: 10, path: "/batch.service", limit: 8 * gb, born: 1e12, leak: between(0, 20*time.Second, 300*mb)}},
			anomalous: always, cause: CauseGrace, level: 1,
		},
		"it cannot be inspected": {
			groups:    []*group{{id: 10, path: "/a.service", limit: 2 * gb, anon: gb, leak: from(0, 50*mb)}},
			anomalous: always, cause: CauseUninspectable, level: 1,
			prepare: func(w *world) { w.blind = true },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, DefaultConfig(), tt.groups...)
			w.anomalous = tt.anomalous
			if tt.prepare != nil {
				tt.prepare(w)
			}
			w.run(16 * time.Second)
			assert.Empty(t, w.orders)
			assert.Equal(t, tt.level, w.policy.level, w.story())
			if tt.cause != CauseNone {
				got := w.declined(tt.cause)
				require.Len(t, got, 1, "recorded once: %s", w.story())
				assert.NotEmpty(t, got[0].Reason)
			}
		})
	}
}

func TestSpikeThatSettlesDoesNotEscalate(t *testing.T) {
	for _, step := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond} {
		w := newWorld(t, DefaultConfig(), &group{
			id: 10, path: "/a.service", limit: 2 * gb, anon: gb,
			leak: between(10*time.Second, 10*time.Second+step, 3000*mb),
		})
		w.anomalous = func(t time.Duration) bool { return t > 10*time.Second && t < 12*time.Second }
		w.run(20 * time.Second)
		assert.Equal(t, []int{1}, w.levels, "%s: %s", step, w.story())
	}
}

func TestStallsTakeTheGraceAway(t *testing.T) {
	w := newWorld(t, DefaultConfig(), &group{id: 10, path: "/batch.service", limit: 8 * gb, born: 1e12, leak: from(0, 300*mb)})
	w.anomalous = after(0)
	w.stall = func(time.Duration) float64 { return 0.4 }
	w.runUntil(5*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
}

func TestGraceIsLostToACrashLoop(t *testing.T) {
	g := &group{id: 10, path: "/loop.service", limit: gb, anon: 100 * mb, born: 1e12, leak: from(0, 100*mb)}
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(0)
	w.runUntil(20*time.Second, func(*Decision) bool { return g.gone })
	assert.Empty(t, w.orders, "excused the first time")
	again := &group{id: 20, parent: 1, path: "/loop.service", limit: gb, high: arc.Unlimited, ceiling: arc.Unlimited, anon: 100 * mb, born: w.now, leak: from(0, 100*mb)}
	w.groups = append(w.groups, again)
	w.runUntil(30*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, uint64(20), w.orders[0].Cgroup)
}

func TestSteadyLeakWithoutVelocityIsSeenComingNearer(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment())
	w.anomalous = after(10 * time.Second)
	w.velocity = 0
	at := w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Less(t, at, 11*time.Second)
}

func TestNodeExhaustionIsHarmToo(t *testing.T) {
	w := newWorld(t, DefaultConfig(), &group{id: 10, path: "/a.service", anon: gb, leak: from(0, 300*mb)})
	w.anomalous = after(0)
	w.runUntil(5*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, HarmNode, w.of(LevelChanged)[1].Harm.Kind)
}

func TestLimitOfAnAncestorCounts(t *testing.T) {
	w := newWorld(t, DefaultConfig(),
		&group{id: 2, path: "/pods.slice", limit: 2 * gb},
		&group{id: 10, parent: 2, path: "/pods.slice/a.scope", anon: gb, leak: from(0, 50*mb)})
	w.anomalous = after(0)
	w.runUntil(5*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, uint64(10), w.orders[0].Cgroup, "the deepest, not the slice that is limited")
	assert.Equal(t, uint64(2*gb), w.of(LevelChanged)[1].Harm.Limit)
}

func TestObserveIsEnforceMinusItsFlag(t *testing.T) {
	record := func(observe bool) []arc.Order {
		cfg := DefaultConfig()
		cfg.Observe = observe
		// The first order is compared: after it the worlds differ.
		w := newWorld(t, cfg, payment(), neighbour())
		w.anomalous = after(10 * time.Second)
		w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
		return w.orders
	}
	enforced, observed := record(false), record(true)
	require.Len(t, observed, len(enforced))
	for i := range observed {
		assert.True(t, observed[i].Observe)
		observed[i].Observe = false
	}
	assert.Equal(t, enforced, observed)
}

func TestObservedLeaseLivesAndEnds(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Observe = true
	w := newWorld(t, cfg, payment())
	w.anomalous = after(10 * time.Second)
	w.run(60 * time.Second)
	assert.True(t, w.group(10).gone, "nothing was written")
	for _, o := range w.orders {
		assert.True(t, o.Observe)
	}
	assert.Len(t, w.of(Answered), 2, "observed once, released once: %s", w.story())
}

func TestGapHoldsEscalationBack(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment())
	w.run(10500 * time.Millisecond)
	w.anomalous = after(0)
	w.grow(time.Second)
	assert.True(t, w.step(100e6).Stale)
	for range 2 {
		assert.Equal(t, LevelNormal, w.tick().Level)
	}
	w.runUntil(12*time.Second+500*time.Millisecond, func(d *Decision) bool { return d.Level == LevelWatchful })
}

func TestLateFastTicksAreNoGap(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment())
	w.anomalous = after(10 * time.Second)
	for w.since() < 12*time.Second {
		w.grow(150 * time.Millisecond) // the machine cannot keep 10 ms
		w.step(10e6)
	}
	assert.Equal(t, LevelContainment, w.policy.level, w.story())
}

func TestEngineThatLeavesClosesTheEpisode(t *testing.T) {
	w := newWorld(t, DefaultConfig(), neighbour())
	w.anomalous = after(time.Second)
	w.run(2 * time.Second)
	require.Equal(t, LevelWatchful, w.policy.level)
	for w.since() < 40*time.Second {
		w.grow(100 * time.Millisecond)
		w.sample.Sequence++
		w.sample.Taken, w.sample.Scheduled = w.now, w.now
		var none arc.Judgement
		w.policy.Step(&w.sample, &none, w)
	}
	assert.Equal(t, LevelNormal, w.policy.level)
}

func TestHarmlessAnomalyMayBeLearnedInTheEnd(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Habituation = time.Minute
	w := newWorld(t, cfg, neighbour())
	w.anomalous = after(time.Second)
	w.run(30 * time.Second)
	c := w.policy.decision.Control
	assert.Equal(t, int64(10*time.Millisecond), c.Interval)
	assert.True(t, c.Frozen(w.now))
	w.run(70 * time.Second)
	c = w.policy.decision.Control
	assert.Zero(t, c.Interval)
	assert.False(t, c.Frozen(w.now))
}

// An alarm every minute that harms nobody is learned in the end, although each is
// over before it could be.
func TestManyHarmlessAnomaliesMayBeLearnedInTheEnd(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Habituation = 3 * time.Minute
	w := newWorld(t, cfg, neighbour())
	w.anomalous = func(at time.Duration) bool { return at%time.Minute > 55*time.Second }
	w.run(4 * time.Minute)
	require.True(t, w.policy.decision.Control.Frozen(w.now))
	w.run(8*time.Minute + 2*time.Second)
	require.Equal(t, LevelWatchful, w.policy.level)
	assert.False(t, w.policy.decision.Control.Frozen(w.now))
	w.run(8*time.Minute + 50*time.Second)
	require.Equal(t, LevelNormal, w.policy.level)
	assert.False(t, w.policy.decision.Control.Frozen(w.now), "nor is there a cool-off")

	w.run(8*time.Minute + 57*time.Second)
	w.psi += 10 // tasks stall
	w.run(10*time.Minute + 2*time.Second)
	assert.True(t, w.policy.decision.Control.Frozen(w.now), "harm was done: patience starts again")
}

func TestHarmThatWasDoneIsTold(t *testing.T) {
	for name, tt := range map[string]struct {
		do     func(w *world)
		harmed bool
	}{
		"nothing came of it": {func(w *world) { w.group(10).leak = between(10*time.Second, 10*time.Second+200*time.Millisecond, 50*mb) }, false},
		"an OOM kill":        {func(w *world) { w.group(10).leak, w.oom = nil, 1 }, true},
		"tasks stall":        {func(w *world) { w.group(10).leak, w.stall = nil, from(10*time.Second, 0.5) }, true},
		"a lease":            {func(*world) {}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, DefaultConfig(), payment())
			w.anomalous = after(10 * time.Second)
			w.run(9 * time.Second)
			tt.do(w)
			w.run(13 * time.Second)
			assert.True(t, w.policy.decision.Control.Watchful)
			assert.Equal(t, tt.harmed, w.policy.decision.Control.Harmed, w.story())
		})
	}
}

func TestSecondCulpritIsContainedToo(t *testing.T) {
	second := &group{id: 12, path: "/b.service", limit: 2 << 30, anon: 1.2 * gb, leak: from(20*time.Second, 50*mb)}
	w := newWorld(t, DefaultConfig(), payment(), second)
	w.anomalous = after(10 * time.Second)
	w.run(30 * time.Second)
	assert.NotEqual(t, arc.Unlimited, second.ceiling, w.story())
	assert.LessOrEqual(t, w.mostOrders, 4)
}

func TestReleaseAll(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment())
	w.anomalous = after(10 * time.Second)
	w.run(12 * time.Second)
	orders := w.policy.ReleaseAll(nil)
	require.Len(t, orders, 1)
	assert.Equal(t, arc.Release, orders[0].Verb)
	assert.Equal(t, w.orders[0].Generation, orders[0].Generation)
}

func TestKindOfGrowthIsKnownFromLooksFarEnoughApart(t *testing.T) {
	const ms = int64(time.Millisecond)
	type look struct {
		at    int64
		bytes uint64
	}
	for name, tt := range map[string]struct {
		looks []look
		rate  float64
		known bool
	}{
		"one look":                     {[]look{{1000, 5}}, 0, false},
		"too near":                     {[]look{{1000, 5}, {1100, 500}}, 0, false},
		"far enough":                   {[]look{{1000, 0}, {1200, 10 * mb}}, 50 * mb, true},
		"it shrinks":                   {[]look{{1000, 10 * mb}, {1200, 0}}, 0, true},
		"a leak that began in between": {[]look{{1000, 0}, {2500, 0}, {2700, 10 * mb}}, 50 * mb, true},
		"a statistic that lags":        {[]look{{1000, 0}, {1100, 10 * mb}, {1500, 10 * mb}, {1700, 10 * mb}}, 10 * mb / 0.7, true},
		"looks too old to count":       {[]look{{1000, 0}, {9000, 90 * mb}, {9200, 90 * mb}}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			var g glance
			for _, l := range tt.looks {
				g.add(l.at*ms, l.bytes, [2]uint64{})
			}
			rate, known := g.growth()
			assert.Equal(t, tt.known, known)
			assert.InDelta(t, tt.rate, rate, 1)
		})
	}
	var g glance
	for i := range int64(100) {
		g.add(i*50*ms, uint64(i)*mb, [2]uint64{})
	}
	assert.Equal(t, glancePoints, g.n)
}
