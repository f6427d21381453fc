// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// episodes counts alarms as an operator does: anomalous decisions less than 30 s
// apart are one. persistent counts runs of five and more in a row.
type episodes struct {
	n, decisions, run, persistent int
	last                          int64
}

func (e *episodes) see(j *arc.Judgement) {
	if !j.Fresh {
		return
	}
	if !j.Anomalous {
		e.run = 0
		return
	}
	if e.n == 0 || j.Decided-e.last > int64(30*time.Second) {
		e.n++
	}
	e.last = j.Decided
	e.decisions++
	if e.run++; e.run == 5 {
		e.persistent++
	}
}

func TestALeakIsSeenWithinThreeDecisionsOnANoisyMachine(t *testing.T) {
	const seeds = 100
	inTime, inSecond, explained := 0, 0, 0
	for seed := range uint64(seeds) {
		m, e := newMachine(seed), NewEngine(Config{})
		var j arc.Judgement
		for range 600 {
			m.run(e, arc.Control{}, &j)
		}
		m.leak = 50e6
		at := 0
		for k := 1; k <= 10 && at == 0; k++ {
			m.run(e, arc.Control{}, &j)
			if j.Anomalous {
				at = k
			}
		}
		if at > 0 && at <= 3 {
			inTime++
		}
		if at > 0 {
			inSecond++
		}
		for _, c := range j.Contributions[:2] {
			if c.Dimension == "system.memory.used.growth" {
				explained++
				assert.Greater(t, c.Value, c.Usual)
				break
			}
		}
	}
	t.Logf("of %d: within 3 decisions %d, within 10 %d, growth among the first two contributions %d", seeds, inTime, inSecond, explained)
	assert.GreaterOrEqual(t, inTime, 95)
	assert.GreaterOrEqual(t, inSecond, 99)
	assert.GreaterOrEqual(t, explained, 95)
}

// The bound is on what was measured, not what the limit aims at: in its first ten
// minutes a machine keeps showing bursts greater than any before.
func TestANoisyMachineRarelyAlarms(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 10
	}
	var all episodes
	early, late := 0, 0
	for seed := range uint64(seeds) {
		m, e := newMachine(seed), NewEngine(Config{})
		var j arc.Judgement
		var ep episodes
		for range 3300 {
			m.run(e, arc.Control{}, &j)
			ep.see(&j)
		}
		early += ep.n
		for range 3000 {
			m.run(e, arc.Control{}, &j)
			ep.see(&j)
		}
		all.n += ep.n
		all.decisions += ep.decisions
		all.persistent += ep.persistent
	}
	late = all.n - early
	n := float64(seeds)
	t.Logf("in %d × 10 min: %d episodes (%d, then %d), %d anomalous decisions, %d runs of five",
		seeds, all.n, early, late, all.decisions, all.persistent)
	assert.LessOrEqual(t, float64(all.n)/n, 1.5, "episodes in ten minutes")
	assert.LessOrEqual(t, float64(all.decisions)/n, 4.0, "anomalous decisions of 6,000")
	assert.LessOrEqual(t, float64(all.persistent)/n, 0.05, "runs of five anomalous decisions")
}

func TestDecisionsDoNotDependOnTheSamplingRate(t *testing.T) {
	fast, slow := newMachine(3), newMachine(3)
	ef, es := NewEngine(Config{}), NewEngine(Config{})
	var jf, js arc.Judgement
	var velocity, velocityFast float64
	for k := range 900 {
		if k == 800 {
			fast.leak, slow.leak = 50e6, 50e6
		}
		for range 10 {
			fast.advance()
			slow.advance()
			if s := fast.read(1 * step); s.Scheduled >= 10*step { // on the slow one's grid
				s.Taken = s.Scheduled
				ef.Judge(s, arc.Control{}, &jf)
			}
		}
		s := slow.read(10 * step)
		s.Taken = s.Scheduled
		es.Judge(s, arc.Control{}, &js)
		if k > 0 {
			assert.Equal(t, js.Fresh, jf.Fresh, "decision %d", k)
			assert.InDelta(t, js.Distance, jf.Distance, 1e-6*(1+js.Distance), "decision %d", k)
			assert.Equal(t, js.Anomalous, jf.Anomalous, "decision %d", k)
		}
		if k == 805 {
			velocity, velocityFast = js.Velocity, jf.Velocity
		}
	}
	assert.Positive(t, velocity)
	assert.Positive(t, velocityFast)
}

// calm runs a machine for n ticks with what the policy asks.
func calm(m *machine, e arc.Engine, n int, c arc.Control) (j arc.Judgement) {
	for range n {
		m.run(e, c, &j)
	}
	return j
}

func TestNotReadyUntilWarm(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{Warmup: 20 * time.Second})
	assert.False(t, calm(m, e, 200, arc.Control{}).Ready)
	j := calm(m, e, 2, arc.Control{})
	assert.True(t, j.Ready)
	assert.Greater(t, j.Confidence, 0.2)
	assert.Greater(t, calm(m, e, 600, arc.Control{}).Confidence, j.Confidence)
	assert.Less(t, j.Confidence, 1.0)
}

func TestNothingIsLearnedWhileControlForbidsIt(t *testing.T) {
	for name, c := range map[string]arc.Control{
		"lease held": {LeaseHeld: true}, "frozen": {FrozenUntil: arc.Forever},
	} {
		t.Run(name, func(t *testing.T) {
			m, e := newMachine(1), NewEngine(Config{RelearnAfter: time.Minute})
			calm(m, e, 600, arc.Control{})
			before := append([]float64(nil), e.detector.base.mean...)
			assert.True(t, calm(m, e, 50, c).Frozen)
			assert.Equal(t, before, e.detector.base.mean, "without an alarm too")
			m.leak = 50e6
			j := calm(m, e, 1200, c)
			assert.True(t, j.Frozen)
			assert.True(t, j.Ready, "control dominates: no relearning after two minutes of alarm")
			assert.True(t, j.Anomalous)
			assert.Equal(t, before, e.detector.base.mean)
			assert.True(t, calm(m, e, 500, arc.Control{}).Ready, "patience starts again when control ends")
			assert.False(t, calm(m, e, 150, arc.Control{}).Ready)
		})
	}
}

func TestALeakIsNotLearnedUnderItsOwnAlarm(t *testing.T) {
	m, e := newMachine(2), NewEngine(Config{})
	calm(m, e, 600, arc.Control{})
	m.leak = 50e6
	calm(m, e, 10, arc.Control{})
	before := append([]float64(nil), e.detector.base.mean...)
	j := calm(m, e, 10*540, arc.Control{}) // nine minutes more
	assert.True(t, j.Anomalous)
	assert.True(t, j.Frozen)
	assert.Equal(t, before, e.detector.base.mean)
}

func TestANewLevelIsAcceptedAfterALongTimeAlone(t *testing.T) {
	m, e := newMachine(2), NewEngine(Config{RelearnAfter: 2 * time.Minute})
	calm(m, e, 600, arc.Control{})
	m.leak = 50e6 // stands for any state that lasts
	assert.True(t, calm(m, e, 1100, arc.Control{}).Anomalous)
	j := calm(m, e, 200, arc.Control{})
	assert.False(t, j.Ready, "learning from nothing")
	j = calm(m, e, 400, arc.Control{})
	assert.True(t, j.Ready)
	assert.False(t, j.Anomalous)

	harmed := NewEngine(Config{RelearnAfter: 2 * time.Minute})
	m = newMachine(2)
	calm(m, harmed, 600, arc.Control{})
	m.leak = 50e6
	assert.True(t, calm(m, harmed, 1500, arc.Control{Harm: true}).Anomalous, "harm is never accepted")
}

func TestCoolOffIsBounded(t *testing.T) {
	config := Config{CoolOff: 5 * time.Second}.withDefaults()
	var a alarm
	now := int64(0)
	decide := func(anomalous bool) int {
		now += 100 * ms
		return a.step(now, 100*ms, anomalous, arc.Control{}, &config)
	}
	decide(true)
	assert.True(t, a.active())
	decide(false)
	assert.Equal(t, alarmPassed, decide(false), "one decision of alarm cools off for as long")
	assert.False(t, a.active())
	for range 200 {
		decide(true)
	}
	for range 50 {
		assert.Equal(t, alarmNone, decide(false))
		assert.True(t, a.active())
	}
	assert.Equal(t, alarmNone, decide(false), "a long alarm is no healthy spike")
	assert.False(t, a.active())
}

func TestAPassingSpikeIsLearned(t *testing.T) {
	m, e := newMachine(2), NewEngine(Config{})
	calm(m, e, 600, arc.Control{})
	scores := make([]float64, 0, 4)
	for range 4 {
		m.leak = 80e6
		j := calm(m, e, 2, arc.Control{})
		scores = append(scores, j.Distance/j.Limit)
		m.leak = 0
		calm(m, e, 100, arc.Control{})
	}
	assert.Greater(t, scores[0], 1.0)
	assert.Less(t, scores[3], 1.0, "the fourth of its kind is not news: %v", scores)
}

func TestTheLimitRisesToWhatAHealthyMachineShows(t *testing.T) {
	raised := 0
	for seed := range uint64(10) {
		m, e := newMachine(seed), NewEngine(Config{Warmup: time.Minute})
		if j := calm(m, e, 590, arc.Control{}); j.Limit > e.detector.theory.limit {
			raised++
		}
	}
	assert.GreaterOrEqual(t, raised, 4, "bursts seen while warming up count, though nothing is judged yet")
}
