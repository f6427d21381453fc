// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The committed objects can be read without privilege or kernel.
func TestObjectsHoldTheirPrograms(t *testing.T) {
	for name, tc := range map[string]struct {
		load     func() (*ebpf.CollectionSpec, error)
		programs map[string]ebpf.ProgramType
		maps     []string
	}{
		"node": {loadNode, map[string]ebpf.ProgramType{
			"sample_node": ebpf.Syscall,
		}, []string{"sample", "previous", "slots", "ticks"}},
		"events": {loadEvents, map[string]ebpf.ProgramType{
			"count_fork": ebpf.Tracing, "count_exec": ebpf.Tracing, "count_exit": ebpf.Tracing,
			"count_block": ebpf.Tracing, "count_retransmit": ebpf.Tracing,
			"count_synack": ebpf.Tracing, "count_connect": ebpf.Tracing,
			"begin_reclaim": ebpf.Tracing, "end_reclaim": ebpf.Tracing,
		}, []string{"counts", "reclaiming", "destinations"}},
		"sysenter": {loadSysenter, map[string]ebpf.ProgramType{
			"count_syscall": ebpf.Tracing,
		}, []string{"counts"}},
		"cgroup": {loadCgroup, map[string]ebpf.ProgramType{
			"sweep_cgroup": ebpf.Tracing,
		}, []string{"rows", "head", "anchor", "slots", "traffic"}},
		"traffic": {loadTraffic, map[string]ebpf.ProgramType{
			"count_received": ebpf.CGroupSKB, "count_sent": ebpf.CGroupSKB, "count_open": ebpf.Tracing,
		}, []string{"traffic", "uncounted"}},
		"shield": {loadShield, map[string]ebpf.ProgramType{
			"shield": ebpf.XDP,
		}, []string{"counts", "state", "sources", "sessions"}},
		"verdict": {loadVerdict, map[string]ebpf.ProgramType{
			"throttle_received": ebpf.CGroupSKB, "throttle_sent": ebpf.CGroupSKB,
			"deny_received": ebpf.CGroupSKB, "deny_sent": ebpf.CGroupSKB,
			"isolate_received": ebpf.CGroupSKB, "isolate_sent": ebpf.CGroupSKB,
		}, []string{"counts", "state"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := tc.load()
			require.NoError(t, err)
			assert.Len(t, spec.Programs, len(tc.programs))
			for program, kind := range tc.programs {
				require.Contains(t, spec.Programs, program)
				assert.Equal(t, kind, spec.Programs[program].Type)
				assert.Equal(t, "Dual BSD/GPL", spec.Programs[program].License)
			}
			for _, m := range tc.maps {
				assert.Contains(t, spec.Maps, m)
			}
		})
	}
}

func TestEveryProbeHasItsPrograms(t *testing.T) {
	spec, err := loadEvents()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, p := range probes {
		for _, program := range p.programs {
			assert.Contains(t, spec.Programs, program)
			seen[program] = true
		}
	}
	assert.Len(t, seen, len(spec.Programs))
}

func TestVariablesHaveAPlaceInBothPrograms(t *testing.T) {
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){"node": loadNode, "cgroup": loadCgroup} {
		spec, err := load()
		require.NoError(t, err)
		assert.Contains(t, spec.Variables, "runqueues", name)
		for variable := range spec.Variables {
			if variable == "count_traffic" {
				continue // no place, but a switch
			}
			assert.Contains(t, variables, variable, "%s: nobody places it", name)
		}
	}
}
