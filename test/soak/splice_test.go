// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// spliced plays a tape with a leak of 10 MiB/s in service 11 from tick 100 on, and
// returns the samples at some ticks after the onset.
func spliced(t *testing.T, limit, held uint64, after ...int) (out []arc.Sample, p *splice) {
	t.Helper()
	tape := machine(5, 400)
	g := newGuard()
	if held > 0 {
		g.leases[leaseKey{11, arc.ActionMemoryHigh}] = lease{value: held, deadline: 1 << 62}
	}
	p = newSplice(Fault{Leak: float64(10 * mib)}, tape, 100, []uint64{11}, g)
	p.limits[0] = limit
	s := Replay(tape)
	for i := 0; ; i++ {
		sample, _ := s.Next()
		if sample == nil {
			return out, p
		}
		p.apply(sample)
		for _, k := range after {
			if i == 100+k {
				kept := *sample
				kept.Cgroups = arc.Sweep{ID: append([]uint64(nil), sample.Cgroups.ID...)}
				for f, c := range sample.Cgroups.Columns {
					kept.Cgroups.Columns[f] = append([]uint64(nil), c...)
				}
				out = append(out, kept)
			}
		}
	}
}

func TestALeakIsSeenInItsCgroupAboveItAndInTheNode(t *testing.T) {
	plain := machine(5, 400)
	got, p := spliced(t, 0, 0, 0, 50)
	assert.False(t, p.spent)
	for k, want := range map[int]float64{0: 0, 1: 50} { // MiB
		at := 100 + 50*k
		was := &plain.Ticks[at]
		for row, id := range got[k].Cgroups.ID {
			expected := 0.0
			if id == 11 || id == 2 || id == 1 {
				expected = want * float64(mib)
			}
			for _, f := range []arc.CgroupField{arc.CgroupMemoryUsage, arc.CgroupMemoryAnon, arc.CgroupMemoryUnreclaimable} {
				assert.InDelta(t, expected, float64(got[k].Cgroups.Value(f, row))-float64(was.Cgroups.Value(f, row)), float64(mib)/4, "cgroup %d, %s", id, arc.CgroupFields[f].Name)
			}
		}
		assert.InDelta(t, want*float64(mib), got[k].Node[arc.NodeMemoryUsed]-was.Node[arc.NodeMemoryUsed], float64(mib)/4)
		assert.InDelta(t, -want*float64(mib), got[k].Node[arc.NodeMemoryAvailable]-was.Node[arc.NodeMemoryAvailable], float64(mib)/4)
		assert.Equal(t, was.Node[arc.NodeForks], got[k].Node[arc.NodeForks])
	}
}

func TestACeilingHoldsALeakAndALimitEndsIt(t *testing.T) {
	tape := machine(5, 400)
	usage := tape.Ticks[100].Cgroups.Value(arc.CgroupMemoryUsage, 3)
	held := usage + 20*mib
	got, p := spliced(t, 0, held, 200)
	assert.False(t, p.spent)
	assert.InDelta(t, float64(held), float64(got[0].Cgroups.Value(arc.CgroupMemoryUsage, 3)), float64(3*mib))

	_, p = spliced(t, usage+20*mib, 0, 0)
	assert.True(t, p.spent)
	assert.LessOrEqual(t, p.memory[0], float64(21*mib))
}

// A machine that nothing is wrong with is left alone, and is not when there is a
// leak: in the cgroup that leaks, within a second or two.
func TestALeakIsContainedAndAHealthyMachineIsNot(t *testing.T) {
	tape := machine(6, 6000)
	tally, err := soak(Replay(tape), 0, 0)
	require.NoError(t, err)
	assert.Zero(t, tally.touched())
	assert.InDelta(t, 600, tally.Time.Seconds(), 1)
	assert.Greater(t, tally.Ready, 9*time.Minute)
	for seed := range uint64(5) {
		trial, err := try(tape, Faults()[0], rand.New(rand.NewPCG(seed, 0)))
		require.NoError(t, err)
		require.NotNil(t, trial)
		assert.Positive(t, trial.Contained, "%+v", trial)
		assert.Less(t, trial.Contained, 3*time.Second)
		assert.Equal(t, "memory.high", trial.Action)
		assert.Empty(t, trial.Innocent)
	}
}
