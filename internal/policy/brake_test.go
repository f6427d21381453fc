// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// greedy wants all CPUs whenever on says so, with a weight that no knob reaches.
func greedy(on func(time.Duration) bool) *group {
	return &group{id: 10, path: "/batch.service", plant: plant{greedy: 10_000, tasks: 8, cpu: func(at time.Duration) float64 {
		if on(at) {
			return 8
		}
		return 0
	}}}
}

func since(from time.Duration) func(time.Duration) bool {
	return func(at time.Duration) bool { return at >= from }
}

// turn is one value of a cap, and when it was ordered first.
type turn struct {
	at    time.Duration
	value uint64
}

// turns lists the values ordered of an action.
func (w *world) turns(a arc.Action) []turn {
	var out []turn
	for _, o := range w.orders {
		if o.Action == a && o.Verb == arc.Hold && (len(out) == 0 || out[len(out)-1].value != o.Parameter) {
			out = append(out, turn{time.Duration(o.Scheduled - w.start), o.Parameter})
		}
	}
	return out
}

// steps expects that each value is half or twice the one before, within bounds, and
// no sooner than what was done before can show.
func steps(tb assert.TestingT, turns []turn, least uint64, tightens, eases time.Duration) {
	for i := 1; i < len(turns); i++ {
		before, now := turns[i-1], turns[i]
		assert.GreaterOrEqual(tb, now.value, least, "not below the floor")
		assert.LessOrEqual(tb, now.value, turns[0].value, "not above where it began")
		gap := now.at - before.at
		if now.value < before.value {
			assert.Equal(tb, max(before.value/2, least), now.value, "a step is half")
			assert.GreaterOrEqual(tb, gap, tightens, "no faster than the effect shows: %v", turns)
		} else {
			assert.InDelta(tb, float64(min(2*before.value, turns[0].value)), float64(now.value), float64(turns[0].value)/16, "a step is twice")
			assert.GreaterOrEqual(tb, gap, eases, "no sooner than it is quiet: %v", turns)
		}
	}
}

func TestAQuotaUnderWhichOthersStillWaitIsHalvedAgain(t *testing.T) {
	w := newWorld(t, DefaultConfig(), greedy(since(20*time.Second)), service())
	w.anomalous = after(20 * time.Second)
	w.run(3 * time.Minute)
	turns := w.turns(arc.ActionCPUMax)
	require.Len(t, turns, 3, w.story())
	steps(t, turns, tightestQuota, 3*time.Second, DefaultConfig().ReleaseAfter)
	assert.InDelta(t, 1e6, float64(turns[0].value), 0.1e6, "half of what it used")
	assert.Len(t, w.actions(), 2, "within the lease")
	assert.Equal(t, LevelPressure, w.policy.level)
	told := w.of(Announced)
	require.Len(t, told, 2)
	assert.Contains(t, told[0].Outcome.Cause, "tightened: others go on waiting under at most 0.99 CPUs")
	assert.Greater(t, told[0].Harm.Stall, DefaultConfig().CPUStallBudget)
}

func TestAQuotaComesDownToItsFloorAndNoFurther(t *testing.T) {
	// Whatever it is left with, others wait.
	w := newWorld(t, DefaultConfig(), greedy(since(20*time.Second)), service())
	stuck := &group{id: 12, path: "/waits.service", plant: plant{}}
	w.groups = append(w.groups, stuck)
	stuck.parent, stuck.limit, stuck.high, stuck.ceiling = 1, arc.Unlimited, arc.Unlimited, arc.Unlimited
	stuck.plant.reset()
	w.anomalous = after(20 * time.Second)
	for w.since() < 3*time.Minute {
		if w.since() > 20*time.Second {
			stuck.waited += 0.05 + 0.001*w.since().Seconds()/180
			w.cpuSome += 0.05
		}
		w.tick()
	}
	turns := w.turns(arc.ActionCPUMax)
	require.NotEmpty(t, turns, w.story())
	assert.Equal(t, uint64(tightestQuota), turns[len(turns)-1].value, "%v", turns)
	steps(t, turns, tightestQuota, 2*time.Second, DefaultConfig().ReleaseAfter)
}

func TestAQuotaThatHelpsIsNotTightened(t *testing.T) {
	w := newWorld(t, DefaultConfig(), spinner(hours), service())
	w.deaf = arc.ActionCPUWeight
	w.anomalous = after(20 * time.Second)
	w.run(2 * time.Minute)
	assert.Len(t, w.turns(arc.ActionCPUMax), 1, w.story())
}

func TestAQuotaIsEasedWhereNobodyWaitsAnyMore(t *testing.T) {
	passing := service()
	passing.cpu = func(at time.Duration) float64 { // it is idle for five minutes
		if at > time.Minute && at < 6*time.Minute {
			return 0
		}
		return 0.1
	}
	cfg := DefaultConfig()
	w := newWorld(t, cfg, greedy(since(20*time.Second)), passing)
	w.anomalous = after(20 * time.Second)
	w.run(time.Minute)
	before := w.turns(arc.ActionCPUMax)
	require.Len(t, before, 3, w.story())
	w.run(6 * time.Minute)
	turns := w.turns(arc.ActionCPUMax)
	require.Len(t, turns, 5, "%v: %s", turns, w.story())
	assert.Equal(t, turns[0].value, turns[4].value, "back to where it began, step by step")
	steps(t, turns, tightestQuota, 3*time.Second, cfg.ReleaseAfter)
	w.run(8 * time.Minute)
	turns = w.turns(arc.ActionCPUMax)
	require.Len(t, turns, 7, "and tightened when somebody waits again: %v", turns)
	steps(t, turns, tightestQuota, 3*time.Second, cfg.ReleaseAfter)
}

func TestAnOscillatorDoesNotMakeAQuotaFlap(t *testing.T) {
	for _, period := range []time.Duration{300 * time.Millisecond, 2 * time.Second, 7 * time.Second, 20 * time.Second, 45 * time.Second, 70 * time.Second} {
		t.Run(period.String(), func(t *testing.T) {
			cfg := DefaultConfig()
			victim := service()
			// Now the one is idle and now the other.
			victim.cpu = func(at time.Duration) float64 {
				if at > 40*time.Second && at%(2*period) < period {
					return 0
				}
				return 0.1
			}
			w := newWorld(t, cfg, greedy(since(20*time.Second)), victim)
			w.anomalous = after(20 * time.Second)
			w.run(10 * time.Minute)
			turns := w.turns(arc.ActionCPUMax)
			require.NotEmpty(t, turns, w.story())
			steps(t, turns, tightestQuota, 3*time.Second, cfg.ReleaseAfter)
			assert.LessOrEqual(t, len(turns), 14, "%v", turns)
		})
	}
}

func TestRelapsesMakeACapWaitLonger(t *testing.T) {
	cfg := DefaultConfig()
	p := New(cfg, nil)
	l := lease{resource: CPU, action: arc.ActionCPUMax, phase: held}
	l.brakeAt(1e6, tightestQuota)
	s := &arc.Sample{Taken: 1e12}
	v := &verdict{resource: CPU, lead: &candidate{}}
	for round, want := range []int64{1, 2, 4, 8, 8, 8} {
		p.decision.Orders, p.decision.Events = p.decision.Orders[:0], p.decision.Events[:0]
		p.tighten(p.cpu, &l, v, s)
		require.Equal(t, uint64(5e5), l.parameter)
		quiet := s.Taken
		for l.parameter < l.first {
			s.Taken += 1e8
			p.ease(&l, 0, 1, s.Taken)
		}
		took := s.Taken - quiet
		assert.InDelta(t, float64(want*int64(cfg.ReleaseAfter)), float64(took), 2e8, "round %d", round)
	}
	// What is noisy in between is not quiet.
	p.tighten(p.cpu, &l, v, s)
	for range 100 {
		p.ease(&l, 0, 1, s.Taken)
		s.Taken += int64(cfg.ReleaseAfter)
		p.ease(&l, 0.5, 1, s.Taken)
	}
	assert.Less(t, l.parameter, l.first)
}

func TestAStormUnderWhoseCapOthersStillWaitIsHalvedAgain(t *testing.T) {
	storm := writer()
	storm.greedy = 10_000
	w := newWorld(t, DefaultConfig(), storm, service())
	w.lacks = map[arc.Action]bool{arc.ActionIOWeight: true}
	w.anomalous = after(20 * time.Second)
	w.run(2 * time.Minute)
	turns := w.turns(arc.ActionIOMaxWrite)
	require.Len(t, turns, 3, "%v: %s", turns, w.story())
	steps(t, turns, leastFlow, 3*time.Second, DefaultConfig().ReleaseAfter)
	assert.Equal(t, LevelPressure, w.policy.level)
	// And it is eased where nobody wants the disk any more.
	w.group(11).reads = func(time.Duration) float64 { return 0 }
	w.run(5 * time.Minute)
	turns = w.turns(arc.ActionIOMaxWrite)
	require.Len(t, turns, 5, "%v", turns)
	steps(t, turns, leastFlow, 3*time.Second, DefaultConfig().ReleaseAfter)
}

func TestAStormIsCappedBelowWhatMakesASuspect(t *testing.T) {
	storm := writer()
	storm.greedy = 10_000
	cfg := DefaultConfig()
	w := newWorld(t, cfg, storm, service())
	w.disk = 16 * mb
	w.lacks = map[arc.Action]bool{arc.ActionIOWeight: true}
	w.anomalous = after(20 * time.Second)
	w.run(time.Minute)
	turns := w.turns(arc.ActionIOMaxWrite)
	require.NotEmpty(t, turns, w.story())
	steps(t, turns, leastFlow, 3*time.Second, cfg.ReleaseAfter)
	assert.Less(t, float64(turns[len(turns)-1].value), cfg.MinIO*0.9, "what it moves is little, and still keeps others waiting: %v", turns)
}

// A late answer to an older order is about a value that is wanted no more.
func TestALateAnswerDoesNotLoosenACap(t *testing.T) {
	w := newWorld(t, DefaultConfig(), greedy(since(20*time.Second)), service())
	w.anomalous = after(20 * time.Second)
	w.runUntil(2*time.Minute, func(*Decision) bool { return len(w.turns(arc.ActionCPUMax)) == 2 })
	turns := w.turns(arc.ActionCPUMax)
	require.Len(t, turns, 2)
	old := w.orders[len(w.orders)-1]
	old.Parameter = turns[0].value
	w.answers = append(w.answers, answer{old, arc.Outcome{Verdict: arc.VerdictHeld, Value: turns[0].value, Deadline: w.now + old.TTL}})
	w.run(w.since() + 2*time.Second)
	for _, x := range w.turns(arc.ActionCPUMax)[2:] {
		assert.Less(t, x.value, turns[1].value)
	}
}

// TestWhateverHappensACapKeepsItsBoundsAndItsPace draws who wants how much, when.
func TestWhateverHappensACapKeepsItsBoundsAndItsPace(t *testing.T) {
	tightened, eased := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		phases := rapid.SliceOfN(rapid.IntRange(0, 3), 12, 12).Draw(rt, "who is idle")
		length := time.Duration(rapid.IntRange(1, 40).Draw(rt, "for s")) * time.Second
		phase := func(at time.Duration) int { return phases[int(at/length)%len(phases)] }
		heavy := math.Pow(10, rapid.Float64Range(2, 4).Draw(rt, "weight"))
		culprit := greedy(func(at time.Duration) bool { return at > 20*time.Second && phase(at)&1 == 0 })
		culprit.greedy, culprit.writes = heavy, func(at time.Duration) float64 {
			if at > 20*time.Second && phase(at)&1 == 0 {
				return 900 * mb
			}
			return 0
		}
		victim := service()
		needs := func(v float64) func(time.Duration) float64 {
			return func(at time.Duration) float64 {
				if at > 30*time.Second && phase(at)&2 != 0 {
					return 0
				}
				return v
			}
		}
		victim.cpu, victim.reads = needs(0.1), needs(mb)
		cfg := DefaultConfig()
		cfg.Sustain = rapid.SampledFrom([]time.Duration{100 * time.Millisecond, time.Second}).Draw(rt, "sustain")
		w := newWorld(t, cfg, culprit, victim)
		w.anomalous = after(20 * time.Second)
		w.run(4 * time.Minute)
		byLease := map[uint64][]turn{}
		floor := map[uint64]uint64{}
		for _, o := range w.orders {
			switch o.Action {
			case arc.ActionCPUMax:
				floor[o.Generation] = tightestQuota
			case arc.ActionIOMaxRead, arc.ActionIOMaxWrite:
				floor[o.Generation] = leastFlow
			default:
				continue
			}
			of := byLease[o.Generation]
			if o.Verb == arc.Hold && (len(of) == 0 || of[len(of)-1].value != o.Parameter) {
				byLease[o.Generation] = append(of, turn{time.Duration(o.Scheduled - w.start), o.Parameter})
			}
		}
		for generation, of := range byLease {
			steps(rt, of, floor[generation], 2*time.Second, cfg.ReleaseAfter)
			for i := 1; i < len(of); i++ {
				if of[i].value < of[i-1].value {
					tightened++
				} else {
					eased++
				}
			}
			require.LessOrEqual(rt, len(of), 20)
		}
	})
	t.Logf("%d times tightened, %d times eased", tightened, eased)
	assert.Positive(t, tightened)
	assert.Positive(t, eased)
}
