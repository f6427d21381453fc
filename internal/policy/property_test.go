// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// drawWorld makes a random node: a tree of cgroups, some limited, some leaking
// in pulses, some protected, with an engine that alarms at random.
func drawWorld(tb testing.TB, t *rapid.T, cfg Config) *world {
	tb.Helper()
	n := rapid.IntRange(1, 6).Draw(t, "cgroups")
	groups := []*group{
		{id: 2, path: "/system.slice"},
		{id: 3, path: "/reflex.slice"},
		{id: 4, parent: 2, path: "/system.slice/sshd.service"},
		{id: 5, parent: 3, path: "/reflex.slice/collector.service"},
		{id: 6, path: "/init.scope"},
	}
	for i := range n {
		g := &group{id: uint64(10 + i), born: rapid.SampledFrom([]int64{1, 1e12 - 60e9, 1e12}).Draw(t, "born")}
		if rapid.Bool().Draw(t, "below the slice") {
			g.parent, g.path = 2, fmt.Sprintf("/system.slice/s%d.service", i)
		} else {
			g.path = fmt.Sprintf("/s%d.service", i)
		}
		groups = append(groups, g)
	}
	for _, g := range groups {
		g.anon = float64(rapid.IntRange(0, 1000).Draw(t, "anon")) * mb
		if rapid.Bool().Draw(t, "limited") {
			g.limit = uint64(g.anon) + uint64(rapid.IntRange(1, 4000).Draw(t, "headroom"))*mb
		}
		if rapid.IntRange(0, 3).Draw(t, "leaks") == 3 {
			at := time.Duration(rapid.IntRange(0, 10000).Draw(t, "onset")) * time.Millisecond
			length := time.Duration(rapid.SampledFrom([]int{50, 500, 5000, 20000}).Draw(t, "length")) * time.Millisecond
			g.leak = between(at, at+length, float64(rapid.IntRange(1, 500).Draw(t, "rate"))*mb)
		}
	}
	for _, g := range groups {
		g.plant = drawPlant(t, g)
	}
	w := newWorld(tb, cfg, groups...)
	w.weightless, w.unforked = rapid.Bool().Draw(t, "weightless"), rapid.Bool().Draw(t, "unforked")
	w.quietStalls, w.linkless = rapid.Bool().Draw(t, "quiet stalls"), rapid.Bool().Draw(t, "linkless")
	w.deaf = arc.Action(rapid.IntRange(0, int(arc.NumActions)-1).Draw(t, "deaf"))
	w.lacks = map[arc.Action]bool{arc.Action(rapid.IntRange(0, int(arc.NumActions)-1).Draw(t, "lacks")): true}
	if rapid.Bool().Draw(t, "flooded") {
		w.flood = drawPulse(t, "flood", 1_000_000)
	}
	alarm := rapid.SliceOfN(rapid.Bool(), 20, 20).Draw(t, "alarm")
	if w.anomalous = after(6 * time.Second); rapid.Bool().Draw(t, "fickle engine") {
		w.anomalous = func(at time.Duration) bool { return alarm[int(at/time.Second)%len(alarm)] }
	}
	w.velocity = rapid.SampledFrom([]float64{-1, 0, 1}).Draw(t, "velocity")
	answers := rapid.SliceOfN(rapid.IntRange(0, 12), 32, 32).Draw(t, "answers")
	asked := 0
	w.refuse = func(arc.Order) (arc.Outcome, bool) {
		asked++
		switch answers[asked%len(answers)] {
		case 0:
			return arc.Outcome{Verdict: arc.VerdictRefused, Cause: "no"}, true
		case 1:
			return arc.Outcome{Verdict: arc.VerdictLost}, true
		case 2:
			return arc.Outcome{Verdict: arc.VerdictFailed, Cause: "broken"}, true
		}
		return arc.Outcome{}, false
	}
	return w
}

// drawPulse makes a rate that begins, goes on for a while and ends.
func drawPulse(t *rapid.T, what string, most float64) func(time.Duration) float64 {
	at := time.Duration(rapid.IntRange(5000, 8000).Draw(t, what+" onset")) * time.Millisecond
	length := time.Duration(rapid.SampledFrom([]int{50, 500, 5000, 20000}).Draw(t, what+" length")) * time.Millisecond
	return between(at, at+length, most/float64(rapid.SampledFrom([]int{1, 2, 5, 100}).Draw(t, what)))
}

// drawPlant makes something that wants too much of one thing, or of several.
func drawPlant(t *rapid.T, g *group) plant {
	p := plant{tasks: float64(rapid.IntRange(1, 200).Draw(t, "tasks"))}
	if rapid.Bool().Draw(t, "tasks limited") {
		p.mostTasks = uint64(p.tasks) + uint64(rapid.IntRange(1, 8000).Draw(t, "tasks left"))
	}
	idle := func(time.Duration) float64 { return 0.05 }
	p.cpu, p.reads = idle, func(time.Duration) float64 { return 0.5 * mb }
	if rapid.IntRange(0, 3).Draw(t, "greedy") < 3 {
		return p
	}
	switch rapid.IntRange(0, 4).Draw(t, "greed") {
	case 0:
		p.cpu = drawPulse(t, "cpu", 16)
	case 1:
		p.forks = drawPulse(t, "forks", 5000)
	case 2:
		p.writes = drawPulse(t, "writes", 2*gb)
	case 3:
		p.reads = drawPulse(t, "reads", 2*gb)
	case 4:
		p.sends = drawPulse(t, "sends", 1_000_000)
	}
	if rapid.Bool().Draw(t, "stuck under a ceiling") {
		p.full = func(time.Duration) float64 { return 1 }
	}
	return p
}

// belongs lists what may be ordered for a resource, and with what harm.
var belongs = [numResources]struct {
	actions []arc.Action
	harms   []HarmKind
}{
	Memory:  {[]arc.Action{arc.ActionMemoryHigh}, []HarmKind{HarmLimit, HarmNode, HarmStall}},
	Tasks:   {[]arc.Action{arc.ActionPidsMax}, []HarmKind{HarmTasksLimit, HarmTasksNode}},
	CPU:     {[]arc.Action{arc.ActionCPUWeight, arc.ActionCPUMax}, []HarmKind{HarmCPU}},
	IO:      {[]arc.Action{arc.ActionIOWeight, arc.ActionIOMaxRead, arc.ActionIOMaxWrite}, []HarmKind{HarmIO}},
	Network: {[]arc.Action{arc.ActionNetworkThrottle, arc.ActionQuarantine, arc.ActionShield}, []HarmKind{HarmIngress, HarmEgress}},
}

// leastLevel is the level below which an action is never ordered.
var leastLevel = map[arc.Action]int{
	arc.ActionMemoryHigh: 2, arc.ActionPidsMax: 2, arc.ActionCPUWeight: 2, arc.ActionIOWeight: 2,
	arc.ActionCPUMax: 3, arc.ActionIOMaxRead: 3, arc.ActionIOMaxWrite: 3,
	arc.ActionNetworkThrottle: 4, arc.ActionShield: 4, arc.ActionQuarantine: 5,
}

// brakes are the actions that are tightened within their leases.
var brakes = map[arc.Action]bool{
	arc.ActionCPUMax: true, arc.ActionIOMaxRead: true, arc.ActionIOMaxWrite: true, arc.ActionNetworkThrottle: true,
}

func TestWhateverHappensTheRulesHold(t *testing.T) {
	protected := []uint64{1, 2, 3, 4, 5, 6}
	ordered := map[arc.Action]int{}
	rapid.Check(t, func(rt *rapid.T) {
		cfg := DefaultConfig()
		cfg.Observe = rapid.Bool().Draw(rt, "observe")
		cfg.MaxLevel = rapid.SampledFrom([]int{5, 4, 3, 2, 1}).Draw(rt, "max level")
		if cfg.Resources = AllResources; rapid.IntRange(0, 3).Draw(rt, "some resources only") == 3 {
			cfg.Resources = Resources(rapid.IntRange(1, int(AllResources)).Draw(rt, "resources"))
		}
		cfg.MaxLeases = rapid.IntRange(1, 8).Draw(rt, "max leases")
		cfg.ActionsPerMinute = rapid.IntRange(1, 10).Draw(rt, "actions a minute")
		cfg.NodeTasks = uint64(rapid.SampledFrom([]int{0, 5000, 32768}).Draw(rt, "node tasks"))
		cfg.StartupGrace = rapid.SampledFrom([]time.Duration{0, 2 * time.Minute}).Draw(rt, "grace")
		w := drawWorld(t, rt, cfg)
		highest := map[uint64]uint64{} // by generation
		grants := 0
		for w.since() < 15*time.Second {
			before := w.policy.generation
			tasks := map[uint64]uint64{}
			d := w.tick()
			for _, g := range w.groups {
				tasks[g.id] = uint64(g.tasks)
			}
			if w.policy.generation > before {
				grants++
				require.True(t, w.policy.persists(), "no order without an anomaly that persists")
				l := w.policy.leases[len(w.policy.leases)-1]
				ordered[l.action]++
				require.True(t, cfg.Resources.Has(l.resource), "%s is not acted upon", l.resource)
				require.Contains(t, belongs[l.resource].actions, l.action, "the action is that of the pressed resource")
				require.Contains(t, belongs[l.resource].harms, l.harm.Kind, "no order without harm")
				require.GreaterOrEqual(t, d.Level, leastLevel[l.action], "the level allows it")
				require.LessOrEqual(t, l.level, cfg.MaxLevel)
				switch l.action {
				case arc.ActionMemoryHigh:
					require.GreaterOrEqual(t, l.parameter, uint64(w.usage(w.group(l.cgroup))), "never below usage at grant")
				case arc.ActionPidsMax:
					require.GreaterOrEqual(t, l.parameter, tasks[l.cgroup], "never below what it has")
				case arc.ActionCPUWeight, arc.ActionIOWeight:
					require.Less(t, l.parameter, uint64(100), "only tighter")
				case arc.ActionQuarantine:
				default:
					require.NotZero(t, l.parameter)
				}
			}
			require.LessOrEqual(t, grants, cfg.ActionsPerMinute)
			require.LessOrEqual(t, len(w.policy.leases), cfg.MaxLeases)
			require.LessOrEqual(t, w.policy.contained(), leastShare)
			for _, o := range d.Orders {
				require.False(t, slices.Contains(protected, o.Cgroup), "ordered %d", o.Cgroup)
				require.Equal(t, cfg.Observe, o.Observe)
				require.LessOrEqual(t, len(o.Reason), 256)
				if brakes[o.Action] {
					require.GreaterOrEqual(t, o.Parameter, highest[o.Generation]/2, "a cap is halved at most")
				} else {
					require.GreaterOrEqual(t, o.Parameter, highest[o.Generation], "a ceiling only rises, and the rest stays")
				}
				highest[o.Generation] = o.Parameter
			}
			require.LessOrEqual(t, d.Level, cfg.MaxLevel)
			knobs := map[[2]uint64]bool{}
			for i := range w.policy.leases {
				l := &w.policy.leases[i]
				require.GreaterOrEqual(t, d.Level, l.level, "nothing is held above the level in force")
				knob := [2]uint64{l.cgroup, uint64(l.action)}
				require.False(t, knobs[knob], "one lease a knob")
				knobs[knob] = true
			}
			require.Equal(t, len(w.policy.leases) > 0, d.Control.LeaseHeld)
			if d.Level == LevelNormal {
				require.Empty(t, w.policy.leases)
			}
		}
	})
	t.Logf("ordered: %v", ordered)
}

// TestAnyLoneLeakIsContainedInTime draws leaks that need containment and leave
// time for it.
func TestAnyLoneLeakIsContainedInTime(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := float64(rapid.IntRange(10, 300).Draw(rt, "rate")) * mb
		seconds := rapid.Float64Range(2, 50).Draw(rt, "seconds to exhaustion")
		anon := float64(rapid.IntRange(10, 3000).Draw(rt, "anon")) * mb
		onset := 5*time.Second + time.Duration(rapid.IntRange(0, 100).Draw(rt, "phase"))*time.Millisecond
		w := newWorld(t, DefaultConfig(), neighbour(), &group{id: 10, path: "/a.service", anon: anon, limit: uint64(anon + rate*seconds), leak: from(onset, rate)})
		w.anomalous = after(onset + 100*time.Millisecond)
		within := 600 * time.Millisecond
		if seconds > 20 { // there is time to see whether it lasts
			within += time.Duration(0.4 * seconds * (seconds / 60) * (seconds / 60) * 1e9)
		}
		at := w.runUntil(onset+2*within, func(d *Decision) bool { return d.Level == LevelContainment })
		assert.LessOrEqual(t, at-onset, within, "decided in time")
		w.run(at + 5*time.Second)
		assert.False(t, w.group(10).gone)
		// What is left lasts for the time bought at the pace now allowed, as far
		// as the growth budget leaves room.
		l := w.policy.leases[0]
		left := float64(w.group(10).limit) - float64(l.parameter)
		pace := l.fastest * left / float64(l.headroom)
		assert.GreaterOrEqual(t, left/pace, min(600, float64(l.headroom)/DefaultConfig().GrowthBudget)*0.99)
	})
}

// counted are the columns that policy follows beside the gauges.
var counted = []arc.CgroupField{
	arc.CgroupCPUTime, arc.CgroupPressureCPUSome, arc.CgroupPressureIOSome, arc.CgroupPacketsSent, arc.CgroupBytesSent, arc.CgroupPacketsReceived,
}

func thousand() (*Policy, *arc.Sample, *arc.Judgement) {
	p := New(DefaultConfig(), nil)
	s := &arc.Sample{Source: "bench", Interval: 10e6, Taken: 1e12}
	s.Node[arc.NodeMemoryTotal], s.Node[arc.NodeMemoryAvailable] = 64*gb, 32*gb
	s.Cgroups.Append(1, 0)
	for id := uint64(2); id <= 1000; id++ {
		i := s.Cgroups.Append(id, 1+id/40)
		s.Cgroups.Set(arc.CgroupMemoryMax, i, 4*gb)
		s.Cgroups.Set(arc.CgroupMemoryUsage, i, 100*mb+id*4096)
		for _, f := range counted {
			s.Cgroups.Set(f, i, 0)
		}
		s.Cgroups.Set(arc.CgroupPids, i, 10)
	}
	for _, f := range []arc.NodeField{arc.NodePressureCPUSome, arc.NodePressureIOSome, arc.NodeForks, arc.NodePacketsReceived, arc.NodePacketsSent, arc.NodeDropsReceived, arc.NodeDropsSent} {
		s.Node[f] = 0
	}
	return p, s, &arc.Judgement{Ready: true, Limit: 5}
}

func next(s *arc.Sample, j *arc.Judgement) {
	s.Sequence++
	s.Taken += s.Interval
	s.Scheduled = s.Taken
	j.Fresh = s.Sequence%10 == 0
	usage := s.Cgroups.Columns[arc.CgroupMemoryUsage]
	for i := 1; i < 60; i++ {
		usage[i] += uint64(i) * 1000 // some 60 of them grow
		for _, f := range counted {
			s.Cgroups.Columns[f][i] += uint64(i) * uint64(s.Interval) / 100
		}
	}
	dt := float64(s.Interval) / 1e9
	// Everything is pressed, and others wait, so that every resource is judged.
	s.Node[arc.NodePressureCPUSome] += 0.9 * dt
	s.Node[arc.NodePressureIOSome] += 0.9 * dt
	s.Node[arc.NodePacketsReceived] += 1e6 * dt
	s.Node[arc.NodePacketsSent] += 1e6 * dt
	s.Node[arc.NodeDropsReceived] += 1e5 * dt
}

type calm struct{}

func (calm) Inspect(_ uint64, _ Aspect, into *Inspection) error {
	*into = Inspection{Path: "/a.service", Name: "/a.service", Populated: true, Age: time.Hour}
	return nil
}

func (calm) Flooded() (Interface, error) { return Interface{}, nil }

func TestStepWithAThousandCgroupsDoesNotAllocate(t *testing.T) {
	for name, anomalous := range map[string]bool{"at rest": false, "watchful": true} {
		t.Run(name, func(t *testing.T) {
			p, s, j := thousand()
			j.Anomalous = anomalous
			for range 500 {
				next(s, j)
				p.Step(s, j, calm{})
			}
			require.Equal(t, anomalous, p.level == LevelWatchful)
			assert.Zero(t, testing.AllocsPerRun(200, func() {
				next(s, j)
				p.Step(s, j, calm{})
			}))
		})
	}
}

func TestHoldingALeaseDoesNotAllocate(t *testing.T) {
	w := newWorld(t, DefaultConfig(), payment(), neighbour())
	w.anomalous = after(10 * time.Second)
	w.run(15 * time.Second)
	require.Equal(t, LevelContainment, w.policy.level)
	for range 300 { // who is who has been asked
		w.sample.Taken += 10e6
		w.policy.Step(&w.sample, &w.judge, calm{})
	}
	assert.Zero(t, testing.AllocsPerRun(200, func() {
		w.sample.Taken += 10e6
		w.policy.Step(&w.sample, &w.judge, calm{})
	}))
}

func BenchmarkStep1000Cgroups(b *testing.B) {
	for name, anomalous := range map[string]bool{"rest": false, "watchful": true} {
		b.Run(name, func(b *testing.B) {
			p, s, j := thousand()
			j.Anomalous = anomalous
			b.ReportAllocs()
			for b.Loop() {
				next(s, j)
				p.Step(s, j, calm{})
			}
		})
	}
}
