// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// calm runs a machine for n ticks with what the policy asks.
func calm(m *machine, e arc.Engine, n int, c arc.Control) (j arc.Judgement) {
	for range n {
		m.run(e, c, &j)
	}
	return j
}

func TestNodePresetReadsKnownFields(t *testing.T) {
	dims, fields := NodeDimensions()
	require.Len(t, fields, len(dims))
	names := map[string]bool{}
	for i, d := range dims {
		assert.False(t, names[d.Name], "%s twice", d.Name)
		names[d.Name] = true
		f := arc.NodeFields[fields[i]]
		assert.Equal(t, f.Kind == arc.Counter, d.Kind == Rate, d.Name)
		assert.Equal(t, f.Load, d.Load, d.Name)
		assert.Positive(t, d.Scale)
		assert.Positive(t, d.Floor)
	}
	assert.True(t, names["system.memory.used"] && names["system.memory.used"+GrowthSuffix])
}

func TestAbsentFieldsAreNoNews(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{})
	var j arc.Judgement
	for range 700 {
		for range 10 {
			m.advance()
		}
		s := m.read(10 * step)
		for _, f := range []arc.NodeField{arc.NodeDirectReclaims, arc.NodeRunQueueDelay, arc.NodePressureMemorySome} {
			s.Node[f] = math.NaN()
		}
		e.Judge(s, arc.Control{}, &j)
		require.Equal(t, s.Sequence, j.Sequence)
		for _, c := range j.Contributions[:j.NumContributions] {
			require.NotEqual(t, "system.memory.direct_reclaims", c.Dimension)
			require.NotEmpty(t, c.Dimension)
		}
	}
	assert.True(t, j.Ready)
	assert.Less(t, j.Score, j.Limit)
}

func TestAbsurdSamplesNeverPoisonTheNode(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{})
	rng := rand.New(rand.NewPCG(1, 9))
	var j arc.Judgement
	for k := range 3000 {
		for range 10 {
			m.advance()
		}
		s := m.read(10 * step)
		if k%3 == 0 {
			for f := range s.Node {
				if rng.IntN(4) == 0 {
					s.Node[f] = absurdities[rng.IntN(len(absurdities))]
				}
			}
		}
		e.Judge(s, arc.Control{}, &j)
		requireFinite(t, &j)
	}
	calm(m, e, 6000, arc.Control{})
	j = calm(m, e, 1, arc.Control{})
	requireFinite(t, &j)
	assert.True(t, j.Ready)
	assert.Less(t, j.Distance, 20.0)
}

func TestContributionsAreLargestFirstInMeasuredUnits(t *testing.T) {
	m, e := newMachine(4), NewEngine(Config{})
	calm(m, e, 1200, arc.Control{})
	m.leak = 50e6
	j := calm(m, e, 1, arc.Control{})
	require.Equal(t, arc.MaxContributions, j.NumContributions)
	for i := 1; i < j.NumContributions; i++ {
		assert.GreaterOrEqual(t, math.Abs(j.Contributions[i-1].Share), math.Abs(j.Contributions[i].Share))
	}
	first := j.Contributions[0]
	assert.Equal(t, "system.memory.used.growth", first.Dimension)
	assert.InDelta(t, 50e6, first.Value, 25e6)
	assert.Less(t, math.Abs(first.Usual), 5e6)
	assert.Positive(t, j.Direction, "a leak is more load")
	usual := map[string]float64{}
	for _, c := range j.Contributions {
		usual[c.Dimension] = c.Usual
	}
	assert.InDelta(t, 400, usual["system.paging.faults"], 350, "per second, not as learned: %v", usual)
}

func TestNotReadyUntilWarm(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{})
	assert.False(t, calm(m, e, 295, arc.Control{}).Ready)
	j := calm(m, e, 10, arc.Control{})
	assert.True(t, j.Ready)
	assert.Greater(t, j.Confidence, 0.2)
	assert.Greater(t, calm(m, e, 600, arc.Control{}).Confidence, j.Confidence)
	assert.Less(t, j.Confidence, 1.0)
}

func TestDecisionsDoNotDependOnTheSamplingRate(t *testing.T) {
	fast, slow := newMachine(3), newMachine(3)
	ef, es := NewEngine(Config{}), NewEngine(Config{})
	var jf, js arc.Judgement
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
			require.Equal(t, js.Fresh, jf.Fresh, "decision %d", k)
			require.InDelta(t, js.Distance, jf.Distance, 1e-6*(1+js.Distance), "decision %d", k)
			require.Equal(t, js.Anomalous, jf.Anomalous, "decision %d", k)
		}
		if k == 803 {
			assert.Positive(t, js.Velocity)
			assert.Positive(t, jf.Velocity)
		}
	}
}

func TestJudgeDoesNotAllocate(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{})
	var j arc.Judgement
	samples := make([]arc.Sample, 3000)
	for k := range samples {
		for range 10 {
			m.advance()
		}
		samples[k] = *m.read(10 * step)
	}
	k := 0
	judge := func() {
		e.Judge(&samples[k], arc.Control{}, &j)
		k++
	}
	for range 900 {
		judge()
	}
	assert.Zero(t, testing.AllocsPerRun(2000, judge))
	assert.True(t, j.Ready)
}
