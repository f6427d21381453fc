// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/policy"
	"github.com/otelcol-reflex/reflex/internal/recording"
)

// recorded writes a tape as reflexctl record does, and reads it again.
func recorded(t *testing.T, tape *Tape, change func(*arc.Sample)) (*Tape, error) {
	t.Helper()
	var file bytes.Buffer
	w, err := recording.NewWriter(&file, recording.Description{Source: "ebpf", Kernel: "6.12", Interval: tick})
	require.NoError(t, err)
	for i := range tape.Ticks {
		s := tape.Ticks[i]
		change(&s)
		require.NoError(t, w.Write(&s, func(id uint64) string { return tape.paths[id] }))
	}
	require.NoError(t, w.Close())
	return Read(&file)
}

func TestATapeIsWhatWasRecorded(t *testing.T) {
	want := machine(7, 700)
	got, err := recorded(t, want, func(*arc.Sample) {})
	require.NoError(t, err)
	require.Len(t, got.Ticks, 700)
	assert.Equal(t, "6.12", got.Kernel)
	assert.Equal(t, want.paths, got.paths)
	assert.Equal(t, want.born, got.born)
	assert.Equal(t, 699*100*time.Millisecond, got.Span())
	assert.Equal(t, 6, got.Cgroups())
	assert.Equal(t, want.Ticks[400].Cgroups.ID, got.Ticks[400].Cgroups.ID)
	assert.Equal(t, tick, got.Ticks[400].Period)
}

func TestARecordingInWhichThePolicyIsBlindIsRefused(t *testing.T) {
	_, err := recorded(t, machine(7, 20), func(s *arc.Sample) { s.Cgroups.Columns[arc.CgroupMemoryUnreclaimable] = nil })
	assert.ErrorIs(t, err, ErrBlind)
	_, err = recorded(t, machine(7, 1), func(*arc.Sample) {})
	assert.ErrorContains(t, err, "1 ticks")
}

func TestTheCloserLookIsThatOfTheRecording(t *testing.T) {
	tape := machine(8, 700)
	s := Replay(tape)
	i := inspector{stream: s}
	for range 401 {
		i.sample, _ = s.Next()
	}
	var look policy.Inspection
	require.NoError(t, i.Inspect(11, policy.AspectMemory, &look))
	usage := i.sample.Cgroups.Value(arc.CgroupMemoryUsage, 3)
	assert.Equal(t, policy.Inspection{
		Path: "/system.slice/service-1.service", Name: "/system.slice/service-1.service", Anon: usage, Populated: true, Age: -1,
		ReadBytes: i.sample.Cgroups.Value(arc.CgroupReadBytes, 3), WriteBytes: i.sample.Cgroups.Value(arc.CgroupWriteBytes, 3), Device: disk,
	}, look, "it was there at the first tick: nobody knows since when")
	require.NoError(t, i.Inspect(400, policy.AspectMemory, &look))
	assert.Equal(t, "/build-400.scope", look.Path)
	assert.InDelta(t, 10, look.Age.Seconds(), 0.1)

	set(&i.sample.Cgroups, arc.CgroupPids, 3, 0)
	set(&i.sample.Cgroups, arc.CgroupMemoryUnreclaimable, 3, usage+5)
	require.NoError(t, i.Inspect(11, policy.AspectMemory, &look))
	assert.False(t, look.Populated)
	assert.Equal(t, usage+5, look.Unreclaimable())
	set(&i.sample.Cgroups, arc.CgroupMemoryAnon, 3, arc.Absent)
	assert.ErrorContains(t, i.Inspect(11, policy.AspectMemory, &look), "it was not recorded")
	assert.ErrorContains(t, i.Inspect(12345, policy.AspectMemory, &look), "it is gone")
}
