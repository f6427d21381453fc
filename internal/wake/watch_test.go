// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package wake

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// fakeNode holds what a test puts into it.
type fakeNode struct {
	values arc.Node
	err    error
}

func (n *fakeNode) Read(into *arc.Node) error {
	if n.err == nil {
		*into = n.values
	}
	return n.err
}

// watched is a watch over a fake node of two CPUs, looked at in fake time.
type watched struct {
	fakeNode
	*Watch
	now int64
}

func newWatched() *watched {
	w := &watched{now: int64(time.Hour)}
	for f := range w.values {
		w.values[f] = 1000
	}
	w.Watch = New(&w.fakeNode, nil, 2)
	w.pass(time.Second)
	return w
}

// pass lets time pass with nothing new and returns what began nevertheless.
func (w *watched) pass(d time.Duration) (begun Causes) {
	for end := w.now + int64(d); w.now < end; {
		begun |= w.look(Every)
	}
	return begun
}

func (w *watched) look(after time.Duration) Causes {
	w.now += int64(after)
	return w.Look(w.now)
}

func only(c Cause) Causes { return Causes(0).With(c) }

func TestACauseWakesWhenItsCounterGrowsEnough(t *testing.T) {
	for _, tt := range []struct {
		name  string
		field arc.NodeField
		grows []float64 // from look to look
		cause Cause
		at    int // the look at which it wakes, -1: never
	}{
		{"one OOM victim", arc.NodeOOMKills, []float64{0, 1}, OOMKill, 1},
		{"one direct reclaim", arc.NodeDirectReclaims, []float64{1}, DirectReclaim, 0},
		{"a hundred tasks a CPU", arc.NodeForks, []float64{20, 199, 200}, ForkSurge, 2},
		{"a busy build", arc.NodeForks, []float64{150, 150, 150, 150, 150, 150}, ForkSurge, -1},
		{"memory, all at once", arc.NodePressureMemorySome, []float64{0.051}, MemoryStall, 0},
		{"memory, bit by bit", arc.NodePressureMemorySome, []float64{0.01, 0.01, 0.01, 0.01, 0.0101}, MemoryStall, 4},
		{"memory, less than a tenth of the time", arc.NodePressureMemorySome, []float64{0.009, 0.009, 0.009, 0.009, 0.009, 0.009, 0.009}, MemoryStall, -1},
		{"I/O", arc.NodePressureIOFull, []float64{0.1, 0.051}, IOStall, 1},
		{"CPU half of the time", arc.NodePressureCPUSome, []float64{0.1, 0.1, 0.051}, CPUStall, 2},
		{"CPU now and then", arc.NodePressureCPUSome, []float64{0.1, 0, 0, 0, 0.1, 0, 0, 0, 0.1}, CPUStall, -1},
		{"a counter that was restarted", arc.NodeForks, []float64{-900, 10, 10}, ForkSurge, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWatched()
			at := -1
			for i, by := range tt.grows {
				w.values[tt.field] += by
				if begun := w.look(Every); begun != 0 {
					assert.Equal(t, only(tt.cause), begun)
					at = i
					break
				}
			}
			assert.Equal(t, tt.at, at)
			assert.Zero(t, w.pass(time.Second), "once")
		})
	}
}

// A machine that is short of CPU all day would otherwise be sampled fast all day.
func TestWhatGoesOnWakesOnce(t *testing.T) {
	w := newWatched()
	wakes := 0
	for range 600 {
		w.values[arc.NodePressureCPUSome] += 0.09
		if w.look(Every) != 0 {
			wakes++
		}
	}
	assert.Equal(t, 1, wakes)

	w.pass(Quiet - time.Second)
	w.values[arc.NodePressureCPUSome] += 0.5
	assert.Zero(t, w.look(Every), "it was away for too short a time")
	w.pass(Quiet + time.Second)
	w.values[arc.NodePressureCPUSome] += 0.5
	assert.Equal(t, only(CPUStall), w.look(Every))
}

func TestCausesAreIndependent(t *testing.T) {
	w := newWatched()
	w.values[arc.NodeDirectReclaims]++
	assert.Equal(t, only(DirectReclaim), w.look(Every))
	w.values[arc.NodeDirectReclaims]++
	w.values[arc.NodeOOMKills]++
	assert.Equal(t, only(OOMKill), w.look(Every))
}

// After a look that came late as much time has passed as there is more to see.
func TestALateLookIsNoReasonToWake(t *testing.T) {
	w := newWatched()
	w.values[arc.NodeForks] += 900
	w.values[arc.NodePressureCPUSome] += 0.3
	assert.Zero(t, w.look(5*Every))
	w.values[arc.NodeOOMKills]++
	assert.Equal(t, only(OOMKill), w.look(5*Every))
}

func TestWhatCannotBeReadWakesNobody(t *testing.T) {
	w := newWatched()
	assert.Equal(t, Causes(1<<NumCauses-1), w.Sees())
	w.err = errors.New("gone")
	assert.Zero(t, w.pass(time.Second))
	w.err = nil
	w.values[arc.NodeForks] += 1e6
	assert.Zero(t, w.pass(time.Second), "nothing is known of the time in between")

	for f := range w.values {
		w.values[f] = math.NaN()
	}
	blind := New(&w.fakeNode, nil, 2)
	assert.Zero(t, blind.Sees())
	assert.Zero(t, blind.Look(w.now))
	blind = New(nil, nil, 0)
	assert.Zero(t, blind.Sees())
	assert.Zero(t, blind.Look(w.now))
}

func TestALookAllocatesNothing(t *testing.T) {
	w := newWatched()
	assert.Zero(t, testing.AllocsPerRun(100, func() { w.look(Every) }))
}

func TestEveryCauseIsNamed(t *testing.T) {
	seen := map[string]bool{}
	for c := range NumCauses {
		assert.NotEmpty(t, c.String())
		assert.False(t, seen[c.String()])
		seen[c.String()] = true
		assert.NotZero(t, signals[c].looks, c)
	}
	assert.Equal(t, "unknown", NumCauses.String())
}
