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
	n := rapid.IntRange(1, 12).Draw(t, "cgroups")
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
		if rapid.Bool().Draw(t, "leaks") {
			at := time.Duration(rapid.IntRange(0, 10000).Draw(t, "onset")) * time.Millisecond
			length := time.Duration(rapid.IntRange(50, 20000).Draw(t, "length")) * time.Millisecond
			g.leak = between(at, at+length, float64(rapid.IntRange(1, 500).Draw(t, "rate"))*mb)
		}
	}
	w := newWorld(tb, cfg, groups...)
	alarm := rapid.SliceOfN(rapid.Bool(), 20, 20).Draw(t, "alarm")
	w.anomalous = func(at time.Duration) bool { return alarm[int(at/time.Second)%len(alarm)] }
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

func TestWhateverHappensTheRulesHold(t *testing.T) {
	protected := []uint64{0, 1, 2, 3, 4, 5, 6}
	rapid.Check(t, func(rt *rapid.T) {
		cfg := DefaultConfig()
		cfg.Observe = rapid.Bool().Draw(rt, "observe")
		w := drawWorld(t, rt, cfg)
		highest := map[uint64]uint64{} // by generation
		for w.since() < 12*time.Second {
			usage := map[uint64]uint64{}
			before := w.policy.generation
			d := w.tick()
			for _, g := range w.groups {
				usage[g.id] = uint64(w.usage(g))
			}
			anomalous := w.policy.persists()
			if w.policy.generation > before {
				require.True(t, anomalous, "no order without an anomaly that persists")
				l := w.policy.leases[len(w.policy.leases)-1]
				require.NotEqual(t, HarmNone, l.harm.Kind, "no order without harm")
				require.GreaterOrEqual(t, l.ceiling, usage[l.cgroup], "never below usage at grant")
			}
			require.LessOrEqual(t, len(w.policy.leases), cfg.MaxLeases)
			for _, o := range d.Orders {
				require.False(t, slices.Contains(protected, o.Cgroup), "ordered %d", o.Cgroup)
				require.Equal(t, arc.ActionMemoryHigh, o.Action)
				require.Equal(t, cfg.Observe, o.Observe)
				require.LessOrEqual(t, len(o.Reason), 256)
				require.GreaterOrEqual(t, o.Parameter, highest[o.Generation], "a ceiling only rises")
				highest[o.Generation] = o.Parameter
			}
			if len(w.policy.leases) > 0 {
				require.Equal(t, LevelContainment, d.Level)
			}
			require.Equal(t, len(w.policy.leases) > 0, d.Control.LeaseHeld)
			if d.Level == LevelNormal {
				require.Empty(t, w.policy.leases)
			}
		}
	})
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
		at := w.runUntil(onset+2*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
		assert.LessOrEqual(t, at-onset, 600*time.Millisecond, "decided in time")
		w.run(at + 5*time.Second)
		assert.False(t, w.group(10).gone)
		// What is left lasts for the time bought at the pace now allowed, as far
		// as the growth budget leaves room.
		l := w.policy.leases[0]
		left := float64(w.group(10).limit) - float64(l.ceiling)
		pace := l.fastest * left / float64(l.headroom)
		assert.GreaterOrEqual(t, left/pace, min(600, float64(l.headroom)/DefaultConfig().GrowthBudget)*0.99)
	})
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
	}
}

type calm struct{}

func (calm) Inspect(id uint64, into *Inspection) error {
	*into = Inspection{Path: "/a.service", Name: "/a.service", Populated: true, Age: time.Hour}
	return nil
}

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
