// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

func TestTheMeterCountsRunsOfThisProcess(t *testing.T) {
	n := openNode(t)
	m, err := OpenMeter()
	unable(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	const reads, children = 50, 10
	into := absent()
	for range reads {
		require.NoError(t, n.Read(into))
	}
	for range children {
		require.NoError(t, startSpinner(t, 0, -1).Wait())
	}
	used, err := m.Usage()
	require.NoError(t, err)
	named := map[string]Usage{}
	for _, u := range used {
		assert.NotContains(t, named, u.Name)
		named[u.Name] = u
	}
	for _, p := range Programs {
		switch p.Name {
		case "sweep_cgroup", "count_syscall", "count_received", "count_sent", "count_open": // not opened
			assert.NotContains(t, named, p.Name)
		default:
			assert.Contains(t, named, p.Name)
		}
	}
	assert.EqualValues(t, reads, named["sample_node"].Runs, "nobody else runs it")
	assert.GreaterOrEqual(t, named["count_exec"].Runs, uint64(children))
	for _, name := range []string{"sample_node", "count_exec"} {
		assert.Greater(t, named[name].Time, m.Own()/2, name)
	}
	assert.Positive(t, m.Own())
	assert.Less(t, m.Own(), time.Millisecond)
}

// What is measured is let go of.
func TestTheMeterHoldsNothingAfterwards(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithBTF()) { // in a process of its own, which holds no other program
		return
	}
	n, err := OpenNode()
	unable(t, err)
	m, err := OpenMeter()
	unable(t, err)
	held, err := heldPrograms()
	require.NoError(t, err)
	assert.NotEmpty(t, held)
	for _, p := range held {
		require.NoError(t, p.Close())
	}
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	require.NoError(t, n.Close())
	held, err = heldPrograms()
	require.NoError(t, err)
	assert.Empty(t, held)
}

func TestToMeasureTakesPrivilege(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithoutPrivilege()) {
		return
	}
	_, err := OpenMeter()
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "statistics")
}

func TestProgramOfADescriptor(t *testing.T) {
	id, ok := programOf("pos:\t0\nlink_type:\traw_tracepoint\nlink_id:\t4\nprog_id:\t1234\n")
	assert.True(t, ok)
	assert.Equal(t, ebpf.ProgramID(1234), id)
	_, ok = programOf("pos:\t0\nflags:\t02\n")
	assert.False(t, ok)
}
