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

// spinner wants many CPUs from 20 s on.
func spinner(until time.Duration) *group {
	return &group{id: 10, path: "/batch.service", plant: plant{cpu: between(20*time.Second, until, 8), tasks: 8}}
}

// hours is longer than any test.
const hours = 100 * time.Hour

func TestSpinThatKeepsOthersWaitingGetsLessWeight(t *testing.T) {
	w := newWorld(t, DefaultConfig(), spinner(hours), service())
	w.anomalous = after(20 * time.Second)
	at := w.runUntil(30*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Greater(t, at, 20*time.Second+DefaultConfig().Sustain, "not for a spike")
	assert.Less(t, at, 26*time.Second)
	w.run(80 * time.Second)
	assert.Equal(t, []arc.Action{arc.ActionCPUWeight}, w.actions(), "enough, so nothing harder: %s", w.story())
	assert.Equal(t, uint64(10), w.orders[0].Cgroup)
	assert.Equal(t, DefaultConfig().Weight, w.orders[0].Parameter)
	granted := w.of(Answered)[0]
	assert.Equal(t, HarmCPU, granted.Harm.Kind)
	assert.Greater(t, granted.Harm.Stall, DefaultConfig().CPUStallBudget)
	assert.Contains(t, granted.Reason, "CPUs more than usual")
	assert.Contains(t, granted.Reason, "others wait for a CPU")
	assert.Equal(t, LevelContainment, w.policy.level, "effective containment holds the level")
}

// A collector that is started on a node that has changed since its baseline was learned
// sees something unusual at once, and goes on seeing it.
func TestWhoIsStartedWhileTheNodeIsUnusualKnowsWhatOthersWaitFor(t *testing.T) {
	busy := &group{id: 12, path: "/database.service", plant: plant{cpu: from(0, 1.5), tasks: 4}}
	w := newWorld(t, DefaultConfig(), spinner(hours), service(), busy)
	w.anomalous = after(0)
	w.run(19 * time.Second)
	require.Equal(t, []int{1}, w.levels)
	at := w.runUntil(30*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Less(t, at, 26*time.Second, w.story())
	assert.Equal(t, uint64(10), w.orders[0].Cgroup)
}

func TestWhatIsNotEnforcedIsOnlyObserved(t *testing.T) {
	for _, enforced := range []Resources{0, Resources(0).With(Memory), Resources(0).With(CPU), AllResources} {
		cfg := DefaultConfig()
		cfg.Enforced = enforced
		w := newWorld(t, cfg, spinner(hours), service())
		w.anomalous = after(20 * time.Second)
		w.run(80 * time.Second)
		require.NotEmpty(t, w.orders)
		for _, o := range w.policy.ReleaseAll(w.orders) {
			assert.Equal(t, !enforced.Has(CPU), o.Observe, "%v: %v", enforced.Names(), o)
		}
	}
	cfg := DefaultConfig()
	cfg.Observe = true
	assert.True(t, cfg.Observes(CPU), "who observes enforces nothing")
}

func TestSpinThatWeightDoesNotStopGetsAQuota(t *testing.T) {
	// Nobody competes with it at its own level of the tree: weight does nothing.
	w := newWorld(t, DefaultConfig(), spinner(60*time.Second), service())
	w.anomalous = func(at time.Duration) bool { return at >= 20*time.Second && at < 60*time.Second }
	w.deaf = arc.ActionCPUWeight
	w.run(50 * time.Second)
	require.Equal(t, []arc.Action{arc.ActionCPUWeight, arc.ActionCPUMax}, w.actions(), w.story())
	assert.Equal(t, []int{1, 2, 3}, w.levels)
	assert.Equal(t, int64(1), w.policy.history.find(10).factor(), "a second step is no recurrence")
	first, second := w.of(Answered)[0].Order, w.of(Answered)[1].Order
	assert.GreaterOrEqual(t, time.Duration(second.Scheduled-first.Scheduled), 2*time.Second, "no faster than the effect shows")
	assert.InDelta(t, 1e6, float64(second.Parameter), 0.1e6, "half of what it used")

	w.run(300 * time.Second)
	assert.Equal(t, []int{1, 2, 3, 2, 1, 0}, w.levels, "back step by step: %s", w.story())
	var released []arc.Action
	for _, e := range w.of(Answered) {
		if e.Outcome.Verdict == arc.VerdictReleased {
			released = append(released, e.Order.Action)
		}
	}
	assert.Equal(t, []arc.Action{arc.ActionCPUMax, arc.ActionCPUWeight}, released, "the harder one first")
	assert.Empty(t, w.group(10).knobs)
}

func TestSpinThatHarmsNobodyIsLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		groups  []*group
		prepare func(*world)
	}{
		"alone on the machine": {groups: []*group{spinner(hours)}},
		"CPUs enough for all":  {groups: []*group{spinner(hours), service()}, prepare: func(w *world) { w.cpus = 64 }},
		"a spike that settles": {groups: []*group{spinner(20*time.Second + 700*time.Millisecond), service()}},
		"nobody's stalls are known": {
			groups: []*group{spinner(hours), service()}, prepare: func(w *world) { w.quietStalls = true },
		},
		"an oscillator below the budget": {groups: []*group{{id: 10, path: "/a.service", plant: plant{cpu: func(at time.Duration) float64 {
			if at > 20*time.Second && at%(2*time.Second) < 400*time.Millisecond {
				return 8
			}
			return 0
		}}}, service()}},
		"who waits for his own quota": {groups: []*group{
			// It begins to want more than it may have as the other one begins to spin,
			// on a machine with CPUs for both.
			spinner(hours), {id: 12, path: "/limited.service", plant: plant{quota: 0.5, cpu: from(20*time.Second, 4)}}, service(),
		}, prepare: func(w *world) { w.cpus = 9 }},
		"only those wait who want more than ever": {groups: []*group{
			spinner(hours), {id: 11, path: "/busy.service", plant: plant{cpu: func(at time.Duration) float64 {
				if at > 20*time.Second {
					return 3
				}
				return 0.1
			}}},
		}, prepare: func(w *world) { w.cpus = 4 }},
		"only Reflex waits": {groups: []*group{spinner(hours), service()}, prepare: func(w *world) { w.policy.cfg.Own = 11 }},
		"who waits has beside it who takes as much": {groups: []*group{
			spinner(hours),
			{id: 2, path: "/system.slice"},
			{id: 11, parent: 2, path: "/system.slice/small.service", plant: plant{cpu: from(0, 0.1)}},
			{id: 12, parent: 2, path: "/system.slice/big.service", plant: plant{cpu: from(0, 7)}},
		}, prepare: func(w *world) { w.cpus = 8 }},
		"nobody waits but a whole slice": {groups: []*group{
			spinner(hours), {id: 2, path: "/system.slice", plant: plant{cpu: from(0, 0.1)}}, {id: 11, parent: 2, path: "/system.slice/a.service"},
		}},
		"a build that has just started": {groups: []*group{
			{id: 10, path: "/build.service", born: 1e12 + 19e9, plant: plant{cpu: between(20*time.Second, 100*time.Second, 8)}}, service(),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, DefaultConfig(), tt.groups...)
			if tt.prepare != nil {
				tt.prepare(w)
			}
			w.anomalous = after(20 * time.Second)
			w.run(60 * time.Second)
			assert.Empty(t, w.orders, w.story())
			assert.Equal(t, []int{1}, w.levels)
		})
	}
}

func TestTheUsualUseOfACPUIsNoGrowth(t *testing.T) {
	// It has always used as much; what is new is the small one's appetite.
	busy := &group{id: 12, path: "/always.service", plant: plant{cpu: func(time.Duration) float64 { return 1.8 }}}
	small := &group{id: 10, path: "/new.service", plant: plant{cpu: from(70*time.Second, 1)}}
	w := newWorld(t, DefaultConfig(), busy, small, service())
	w.anomalous = after(70 * time.Second)
	w.run(90 * time.Second)
	for _, o := range w.orders {
		assert.Equal(t, uint64(10), o.Cgroup, "growth, not size: %s", w.story())
	}
	assert.NotEmpty(t, w.orders, w.story())
}

func TestSlowRampOfCPUUseIsContained(t *testing.T) {
	ramp := &group{id: 10, path: "/ramp.service", plant: plant{cpu: func(at time.Duration) float64 {
		s := max(at.Seconds()-20, 0)
		return 0.002 * s * s
	}}}
	w := newWorld(t, DefaultConfig(), ramp, service())
	w.anomalous = after(25 * time.Second)
	w.runUntil(80*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, arc.ActionCPUWeight, w.orders[0].Action)
}

func TestWaitingOfWhoIsContainedIsNoHarm(t *testing.T) {
	passing := service()
	passing.cpu = between(0, 50*time.Second, 0.1)
	second := &group{id: 12, path: "/second.service", plant: plant{cpu: from(60*time.Second, 40)}}
	w := newWorld(t, DefaultConfig(), spinner(hours), second, passing)
	w.anomalous = after(20 * time.Second)
	w.run(50 * time.Second)
	require.Equal(t, []arc.Action{arc.ActionCPUWeight}, w.actions(), w.story())
	w.run(90 * time.Second)
	assert.Empty(t, second.knobs, "only who is contained waits for it: %s", w.story())
}

func TestTwoSpinnersAreNoSingleCulprit(t *testing.T) {
	second := spinner(hours)
	second.id, second.path = 12, "/other.service"
	w := newWorld(t, DefaultConfig(), spinner(hours), second, service())
	w.anomalous = after(20 * time.Second)
	w.run(40 * time.Second)
	assert.Empty(t, w.orders)
	got := w.declined(CauseMargin)
	require.NotEmpty(t, got, w.story())
	assert.Equal(t, arc.ActionCPUWeight, got[0].Action)
}
