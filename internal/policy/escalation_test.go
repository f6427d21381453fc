// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestAnActionTheGuardLacksIsRecordedOnceAndNotAskedForAgain(t *testing.T) {
	w := newWorld(t, DefaultConfig(), spinner(hours), service())
	w.lacks = map[arc.Action]bool{arc.ActionCPUWeight: true, arc.ActionCPUMax: true}
	w.anomalous = after(20 * time.Second)
	w.run(5 * time.Minute)
	assert.Equal(t, []arc.Action{arc.ActionCPUWeight, arc.ActionCPUMax}, w.actions(), "each once: %s", w.story())
	assert.Len(t, w.of(Answered), 2)
	assert.Equal(t, LevelWatchful, w.policy.level)
	w.lacks = nil // a newer guard
	w.run(15 * time.Minute)
	assert.Equal(t, LevelContainment, w.policy.level, w.story())
}

func TestTheNextRungWaitsForTheEffectOfTheOneBefore(t *testing.T) {
	now := int64(1e12)
	for name, tt := range map[string]struct {
		phase phase
		age   time.Duration
		level int
		want  arc.Action
		cause Cause
	}{
		"not answered yet":             {asked, time.Minute, 3, arc.ActionNone, CauseNone},
		"its effect cannot show yet":   {held, 1900 * time.Millisecond, 3, arc.ActionNone, CauseNone},
		"it could":                     {held, 2 * time.Second, 3, arc.ActionCPUMax, CauseNone},
		"it could, but the cap is low": {held, 2 * time.Second, 2, arc.ActionNone, CauseCapped},
		"it is being released":         {releasing, time.Minute, 3, arc.ActionNone, CauseNone},
	} {
		t.Run(name, func(t *testing.T) {
			p := New(isolating(tt.level), nil)
			p.leases = append(p.leases, lease{resource: CPU, action: arc.ActionCPUWeight, cgroup: 10, phase: tt.phase, granted: now - int64(tt.age)})
			got, cause := p.next(p.cpu, &candidate{id: 10}, &memory{id: 10}, now)
			assert.Equal(t, tt.want, got.action)
			assert.Equal(t, tt.cause, cause)
		})
	}
}

func TestFlappingIsHeldForLongerEachTime(t *testing.T) {
	flaps := func(at time.Duration) bool { return at > 20*time.Second && at%(90*time.Second) < 20*time.Second }
	g := &group{id: 10, path: "/flapping.service", plant: plant{cpu: func(at time.Duration) float64 {
		if flaps(at) {
			return 8
		}
		return 0
	}}}
	w := newWorld(t, DefaultConfig(), g, service())
	w.anomalous = flaps
	w.run(40 * time.Minute)
	var held []time.Duration
	began := map[uint64]int64{}
	for _, o := range w.of(Answered) {
		switch o.Outcome.Verdict {
		case arc.VerdictGranted:
			began[o.Order.Generation] = o.Order.Scheduled
		case arc.VerdictReleased:
			held = append(held, time.Duration(o.Order.Scheduled-began[o.Order.Generation]))
		}
	}
	require.GreaterOrEqual(t, len(held), 2, w.story())
	assert.Greater(t, held[1], held[0]+25*time.Second)
	assert.LessOrEqual(t, len(w.actions()), 4, "it is held through most of its flaps in the end: %v", held)
}

func TestWhoStillPressesIsTriedWithoutAfterAWhile(t *testing.T) {
	w := newWorld(t, DefaultConfig(), spinner(25*time.Minute), service())
	w.anomalous = func(at time.Duration) bool { return at >= 20*time.Second && at < 25*time.Minute }
	w.run(40 * time.Minute)
	assert.Equal(t, []arc.Action{arc.ActionCPUWeight, arc.ActionCPUWeight}, w.actions(), "given back, and taken again as others suffer again: %s", w.story())
	var why []string
	for _, o := range w.orders {
		if o.Verb == arc.Release {
			why = append(why, o.Reason)
		}
	}
	require.Len(t, why, 2)
	assert.Contains(t, why[0], "held for 10m0s: to see whether it still does harm")
	assert.Contains(t, why[1], "it has not pressed", "the second time would have been twenty minutes")
	assert.Equal(t, []int{1, 2, 1, 2, 1, 0}, w.levels)
}

func TestFactorIsCappedAndDecays(t *testing.T) {
	m := memory{}
	now := int64(1e12)
	for range 10 {
		now += int64(time.Minute)
		m.contain(now, 30*time.Minute)
	}
	assert.Equal(t, int64(8), m.factor())
	m.contain(now+int64(61*time.Minute), 30*time.Minute)
	assert.Equal(t, int64(4), m.factor(), "two halvings and one recurrence")
}

func TestTwoCulpritsOfTwoResourcesAreBothContained(t *testing.T) {
	leak := &group{id: 12, path: "/leak.service", limit: 2 << 30, anon: 1.2 * gb, leak: from(20*time.Second, 50*mb)}
	w := newWorld(t, DefaultConfig(), spinner(hours), leak, service())
	w.anomalous = after(20 * time.Second)
	w.run(40 * time.Second)
	assert.ElementsMatch(t, []arc.Action{arc.ActionMemoryHigh, arc.ActionCPUWeight}, w.actions(), w.story())
	assert.NotEqual(t, arc.Unlimited, leak.ceiling)
	assert.Equal(t, uint64(10), w.group(10).knobs[arc.ActionCPUWeight])
	assert.Empty(t, w.group(11).knobs, "nobody else")
}

func TestBudgetsHold(t *testing.T) {
	leak := func(id uint64, onset time.Duration) *group {
		return &group{id: id, path: "/leak" + string(rune('a'+id-20)) + ".service", limit: 20 * gb, anon: gb, leak: from(onset, 400*mb)}
	}
	many := func() []*group {
		var all []*group
		for i := range uint64(5) {
			all = append(all, leak(20+i, time.Duration(10+8*i)*time.Second))
		}
		return all
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		most   int
		cause  Cause
	}{
		"leases":           {func(c *Config) { c.MaxLeases, c.MaxShare = 3, 1 }, 3, CauseFull},
		"share of cgroups": {func(c *Config) { c.MaxLeases = 8 }, leastShare, CauseShare},
		"actions a minute": {func(c *Config) { c.MaxLeases, c.MaxShare, c.ActionsPerMinute = 8, 1, 3 }, 3, CausePace},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			tt.change(&cfg)
			w := newWorld(t, cfg, many()...)
			w.total, w.free = 1000*gb, 900*gb
			w.anomalous = after(10 * time.Second)
			w.run(50 * time.Second)
			assert.Len(t, w.actions(), tt.most, w.story())
			assert.NotEmpty(t, w.declined(tt.cause), w.story())
		})
	}
}

func TestFrozenServiceIsHandedOverEarly(t *testing.T) {
	for name, tt := range map[string]struct {
		full, cpu float64 // while contained
		early     bool
	}{
		"every task waits all the time":        {1, 0, true},
		"all the time, whatever it is counted": {0.95, 0.5, true},
		"all the time that it does not work":   {0.85, 0.45, false},
		"half of it, at a tenth of its work":   {0.6, 0.05, true},
		"half of it, at its usual work":        {0.6, 0.5, false},
		"a fair ceiling, as it was measured":   {0.88, 0.4, false},
		"hardly any, though it has less to do": {0.1, 0.01, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := payment()
			contained := func() bool { return g.ceiling < arc.Unlimited }
			g.full = func(time.Duration) float64 {
				if contained() {
					return tt.full
				}
				return 0
			}
			g.cpu = func(time.Duration) float64 {
				if contained() {
					return tt.cpu
				}
				return 0.5
			}
			w := newWorld(t, DefaultConfig(), g, service())
			w.anomalous = after(10 * time.Second)
			at := w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
			w.run(at + 25*time.Second)
			if !tt.early {
				assert.Empty(t, w.of(Announced), w.story())
				assert.Equal(t, LevelContainment, w.policy.level)
				return
			}
			announced := w.of(Announced)
			require.Len(t, announced, 1, w.story())
			assert.Contains(t, announced[0].Reason, "has made no progress for 10s")
			assert.Contains(t, announced[0].Outcome.Cause, "it makes no progress, ending: release")
			assert.GreaterOrEqual(t, time.Duration(announced[0].Order.Scheduled-w.orders[0].Scheduled), 10*time.Second)
			assert.Equal(t, arc.Unlimited, g.ceiling, "given back")
			assert.Len(t, w.actions(), 1, "and not taken again in this episode")
		})
	}
}

func TestEndingFreezeStopsWhatIsContained(t *testing.T) {
	for name, lacks := range map[string]bool{"by a guard that can": false, "not by one that cannot": true} {
		t.Run(name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Ending, cfg.BuyTime = EndingFreeze, 2*time.Minute
			g := &group{id: 10, path: "/a.service", limit: 400 * mb, anon: 300 * mb, leak: from(time.Second, 20*mb)}
			w := newWorld(t, cfg, g)
			w.lacks = map[arc.Action]bool{arc.ActionFreeze: lacks}
			w.anomalous = after(time.Second)
			w.runUntil(5*time.Minute, func(*Decision) bool { return len(w.of(Announced)) > 0 })
			assert.Equal(t, []arc.Action{arc.ActionMemoryHigh}, w.actions(), "announced before it happens")
			w.run(w.since() + 10*time.Second)
			assert.Len(t, w.of(Announced), 1)
			assert.Equal(t, []arc.Action{arc.ActionMemoryHigh, arc.ActionFreeze}, w.actions(), w.story())
			assert.Less(t, g.ceiling, arc.Unlimited, "the ceiling stays")
			assert.Equal(t, LevelContainment, w.policy.level)
			if lacks {
				assert.Empty(t, g.knobs)
				assert.Len(t, w.of(Answered), 2, "asked for once: %s", w.story())
			} else {
				assert.Equal(t, uint64(1), g.knobs[arc.ActionFreeze])
			}
		})
	}
}

func TestCeilingThatIsOverrunGrowsMoreSlowly(t *testing.T) {
	g := payment()
	g.limit = 4 << 30
	g.leak = func(at time.Duration) float64 {
		switch {
		case at < 10*time.Second:
			return 0
		case g.ceiling < arc.Unlimited:
			return 40 * mb // many tasks charge at once: slowed down, not held
		}
		return 100 * mb
	}
	g.porous = true
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(10 * time.Second)
	w.runUntil(40*time.Second, func(d *Decision) bool { return d.Level == LevelPressure })
	require.Len(t, w.of(Announced), 1)
	assert.Contains(t, w.of(Announced)[0].Reason, "pace of the ceiling is halved")
	l := w.policy.leases[0]
	available := uint64(float64(g.limit) - w.usage(g))
	halved := l.pace(w.now, available, 0)
	l.share = 1
	assert.Positive(t, halved)
	assert.InEpsilon(t, l.pace(w.now, available, 0), 2*halved, 1e-9)

	cfg := DefaultConfig()
	cfg.MaxLevel = LevelContainment
	again := payment()
	again.limit, again.leak, again.porous = 4<<30, g.leak, true
	w = newWorld(t, cfg, again)
	w.anomalous = after(10 * time.Second)
	w.run(30 * time.Second)
	assert.Equal(t, LevelContainment, w.policy.level, "the cap")

	deaf := payment()
	deaf.limit, deaf.porous = 3<<30, true
	w = newWorld(t, DefaultConfig(), deaf)
	w.anomalous = after(10 * time.Second)
	w.run(30 * time.Second)
	assert.Equal(t, []int{1, 2}, w.levels, "where the ceiling does nothing, less of it is no help: %s", w.story())
}

func TestPressure(t *testing.T) {
	const second = int64(time.Second)
	for name, tt := range map[string]struct {
		x    func(s float64) float64
		from float64 // in seconds; 0 is never
	}{
		"below the budget":           {func(float64) float64 { return 0.9 }, 0},
		"a ramp acts early":          {func(s float64) float64 { return s }, 2},
		"a plateau acts later":       {func(float64) float64 { return 3 }, 3},
		"a fall does not":            {func(s float64) float64 { return 5 - 0.4*s }, 0},
		"a spike that settles":       {func(s float64) float64 { return max(0, 4-16*(s-1)*(s-1)) }, 0},
		"an oscillation through one": {func(s float64) float64 { return 1 + 0.5*float64(1-2*(int(s*2)%2)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var p pressure
			at := 0.0
			for s := 0.0; s < 9 && at == 0; s += 0.1 {
				now := int64(1e12) + int64(s*1e9)
				p.add(7, now, tt.x(s))
				if p.worsens(now, time.Duration(second)) {
					at = s
				}
			}
			assert.InDelta(t, tt.from, at, 0.31)
		})
	}
}

func TestObservingDecidesTheSameForEveryResource(t *testing.T) {
	for name, make := range map[string]func() []*group{
		"cpu":  func() []*group { return []*group{spinner(hours), service()} },
		"io":   func() []*group { return []*group{writer(), service()} },
		"pids": func() []*group { g := bomb(); g.mostTasks = 8000; return []*group{g, service()} },
	} {
		t.Run(name, func(t *testing.T) {
			record := func(observe bool) []arc.Order {
				cfg := DefaultConfig()
				cfg.Observe = observe
				w := newWorld(t, cfg, make()...)
				w.anomalous = after(10 * time.Second)
				if name != "pids" {
					w.anomalous = after(20 * time.Second)
				}
				w.runUntil(30*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
				return w.orders
			}
			enforced, observed := record(false), record(true)
			require.Len(t, observed, len(enforced))
			for i := range observed {
				assert.True(t, observed[i].Observe)
				observed[i].Observe = false
			}
			assert.Equal(t, enforced, observed)
		})
	}
}
