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

func TestNodePresetReadsKnownFields(t *testing.T) {
	dims, fields := NodeDimensions()
	require.Len(t, fields, len(dims))
	names := map[string]bool{}
	for i, d := range dims {
		assert.False(t, names[d.Name], "%s twice", d.Name)
		names[d.Name] = true
		f := arc.NodeFields[fields[i]]
		assert.Equal(t, f.Kind == arc.Counter, d.Kind == Rate, d.Name)
		assert.Positive(t, d.Scale)
		assert.Positive(t, d.Floor)
	}
	assert.True(t, names["system.memory.used"] && names["system.memory.used.growth"])
}

func TestAbsentFieldsAreNoNews(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{})
	var j arc.Judgement
	hide := func(s *arc.Sample) *arc.Sample {
		for _, f := range []arc.NodeField{arc.NodeDirectReclaims, arc.NodeRunQueueDelay, arc.NodePressureMemorySome} {
			s.Node[f] = math.NaN()
		}
		return s
	}
	for range 700 {
		for range 10 {
			m.advance()
		}
		e.Judge(hide(m.read(10*step)), arc.Control{}, &j)
		for _, c := range j.Contributions[:j.NumContributions] {
			assert.NotEqual(t, "system.memory.direct_reclaims", c.Dimension)
		}
	}
	assert.True(t, j.Ready)
	assert.Less(t, j.Score, j.Limit)
	assert.Equal(t, m.sample.Sequence, j.Sequence)
}

func TestAbsurdInputNeverPoisons(t *testing.T) {
	m, e := newMachine(1), NewEngine(Config{})
	rng := rand.New(rand.NewPCG(1, 9))
	absurd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64, 5e-324, -1, 0, 1e300}
	var j arc.Judgement
	finite := func() {
		for _, v := range []float64{j.Distance, j.Score, j.Limit, j.Velocity, j.Acceleration, j.Direction, j.Confidence} {
			require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%+v", j)
		}
		for _, c := range j.Contributions[:j.NumContributions] {
			require.False(t, math.IsNaN(c.Share) || math.IsInf(c.Share, 0) || math.IsNaN(c.Usual), "%+v", c)
		}
	}
	for k := range 3000 {
		for range 10 {
			m.advance()
		}
		s := m.read(10 * step)
		if k%3 == 0 {
			for f := range s.Node {
				if rng.IntN(4) == 0 {
					s.Node[f] = absurd[rng.IntN(len(absurd))]
				}
			}
		}
		e.Judge(s, arc.Control{}, &j)
		finite()
	}
	// The state recovers: plain input is judged plainly again.
	e.detector.relearn()
	calm(m, e, 900, arc.Control{})
	m.run(e, arc.Control{}, &j)
	finite()
	assert.True(t, j.Ready)
	assert.Less(t, j.Distance, 20.0)
}

func TestContributionsAreLargestFirstInMeasuredUnits(t *testing.T) {
	m, e := newMachine(4), NewEngine(Config{})
	calm(m, e, 600, arc.Control{})
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
}

// recording returns n samples of a healthy machine, for measurements without the
// simulator's own cost.
func recording(n int) []arc.Sample {
	m := newMachine(1)
	samples := make([]arc.Sample, n)
	for k := range samples {
		for range 10 {
			m.advance()
		}
		samples[k] = *m.read(10 * step)
	}
	return samples
}

func TestJudgeDoesNotAllocate(t *testing.T) {
	samples, e := recording(3000), NewEngine(Config{})
	var j arc.Judgement
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

// BenchmarkEngine16 is one decision of the node preset: vector, score, both
// charts, limit, trend, contributions and update.
func BenchmarkEngine16(b *testing.B) {
	samples, e := recording(20000), NewEngine(Config{})
	require.Len(b, e.fields, 16)
	var j arc.Judgement
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		k := i % len(samples)
		if k == 0 {
			b.StopTimer()
			e = NewEngine(Config{})
			for k := range 1000 {
				e.Judge(&samples[k], arc.Control{}, &j)
			}
			e.detector.vector.Reset()
			e.detector.vector.n = 0
			b.StartTimer()
		}
		e.Judge(&samples[k], arc.Control{}, &j)
	}
}
