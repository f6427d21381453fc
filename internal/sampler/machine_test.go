// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// What happens when the machine changes under the sampler: its clock is set, or
// it sleeps.

const hour = int64(time.Hour)

// sleep suspends the machine in the middle of the wait for the next tick: its
// clock moves on, nothing else does.
func (b *bench) sleep(ns int64) {
	b.clock.now = max(b.clock.now, b.next-30*ms) + ns
	b.clock.slept += ns
}

func TestSettingTheClockMovesNoTick(t *testing.T) {
	b := newBench(1)
	for _, step := range []int64{0, -hour, 2 * hour, -3 * hour} {
		b.clock.stepped += step
		b.take(5)
	}
	require.Len(t, b.arc.seen, 20)
	for i, s := range b.arc.seen {
		assert.Equal(t, (1_000_100+100*int64(i))*ms, s.Scheduled, "on the grid")
		assert.Equal(t, s.Scheduled, s.Taken, "at once")
		assert.Zero(t, s.Missed)
		assert.Equal(t, 1e18+s.Taken+[]int64{0, -hour, hour, -2 * hour}[i/5], s.WallTime, "follows the clock")
	}
}

func TestASleepIsMissedOnceAndNotCaughtUp(t *testing.T) {
	for _, fast := range []bool{false, true} {
		b := newBench(1)
		if fast {
			b.arc.asks = map[uint64]int64{1: 10 * ms}
		}
		b.take(20)
		interval := b.interval
		before := b.arc.seen[19]
		b.sleep(8 * hour)
		woken := b.clock.now
		b.take(20)

		after := b.arc.seen[20]
		assert.Equal(t, woken, after.Taken, "at once")
		assert.Zero(t, after.Scheduled%interval)
		assert.Less(t, after.Taken-after.Scheduled, interval, "it does not claim an instant from before the sleep")
		assert.Equal(t, b.ticks.all[20].Lateness, after.Taken-after.Scheduled)
		assert.Equal(t, (after.Scheduled-before.Scheduled)/interval-1, int64(after.Missed))
		for i, s := range b.arc.seen[21:] {
			assert.Zero(t, s.Missed, "counted once")
			assert.Equal(t, after.Scheduled+int64(i+1)*interval, s.Scheduled, "none is caught up")
		}
	}
}

// machine counts what a machine does that is never quite the same, and nothing
// while it sleeps.
type machine struct {
	clock  *fakeClock
	random *rand.Rand
	awake  int64 // ns, at the last reading
	node   arc.Node
}

func (m *machine) Read(into *arc.Node) error {
	awake := m.clock.now - m.clock.slept
	worked := float64(awake-m.awake) / 1e9
	m.awake = awake
	for f := range m.node {
		if arc.NodeFields[f].Kind == arc.Counter {
			m.node[f] += worked * (100 + 10*m.random.Float64())
		} else {
			m.node[f] = 1000 + 10*m.random.Float64()
		}
	}
	*into = m.node
	return nil
}

// judge is an arc that is nothing but an engine.
type judge struct {
	engine *detect.Engine
	last   arc.Judgement
}

func (a *judge) Observe(s *arc.Sample, j *arc.Judgement) {
	a.engine.Judge(s, arc.Control{}, j)
	a.last = *j
}

func (a *judge) Control() arc.Control { return arc.Control{} }

// Rates over the sleep and the tick after it together would be those of a
// machine that does next to nothing.
func TestASleepIsNoAnomaly(t *testing.T) {
	b := newBench(0)
	a := &judge{engine: detect.NewEngine(detect.Config{Warmup: 20 * time.Second})}
	b.set.Observer, b.set.Node = a, &machine{clock: b.clock, random: rand.New(rand.NewPCG(1, 2))}
	b.take(600)
	require.True(t, a.last.Ready)
	require.True(t, a.last.Fresh)
	for _, slept := range []int64{2 * int64(time.Second), 8 * hour} {
		b.sleep(slept)
		b.take(1)
		assert.False(t, a.last.Fresh, "the first sample has nothing to be compared with")
		for range 300 {
			b.take(1)
			require.True(t, a.last.Fresh, "the next ones have")
			require.False(t, a.last.Anomalous, "score %v, limit %v", a.last.Score, a.last.Limit)
		}
	}
}
