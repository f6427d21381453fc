// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// A kernel without one tracepoint keeps the other events.
func TestEventsStandAlone(t *testing.T) {
	openNode(t) // skips where nothing can be loaded
	kernel, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	spec, err := loadEvents()
	require.NoError(t, err)
	spec.Programs["count_exec"].AttachTo = "no_such_tracepoint"
	spec.Programs["begin_reclaim"].AttachTo = "no_such_tracepoint"

	var e events
	requirements, err := e.open(spec, kernel)
	defer func() { require.NoError(t, e.close()) }()
	require.ErrorIs(t, err, ErrUnsupported)
	assert.Len(t, requirements, len(spec.Programs))
	for _, r := range requirements {
		switch r.Name {
		case "tp_btf/sched_process_exec", "tp_btf/mm_vmscan_direct_reclaim_begin", "tp_btf/mm_vmscan_direct_reclaim_end":
			assert.False(t, r.Present, r.Name)
			assert.Equal(t, remedyTracepoint, r.Remedy)
		default:
			assert.True(t, r.Present, "%+v", r)
		}
	}

	require.NoError(t, startSpinner(t, 0, -1).Wait())
	into := absent()
	e.read(into)
	assert.Positive(t, into[arc.NodeForks])
	assert.True(t, math.IsNaN(into[arc.NodeExecs]), "missing is not zero")
	assert.True(t, math.IsNaN(into[arc.NodeDirectReclaimTime]), "half a pair counts nothing")
}

func TestWithoutPrivilegeTheCapabilitiesAreNamed(t *testing.T) {
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), "REFLEX_TEST_PROBE=1")
	if os.Getuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := command.Output()
	require.NoError(t, err)
	var found probed
	require.NoError(t, json.Unmarshal(out, &found))
	if found.Unsupported {
		t.Skip("the kernel lacks more than privilege")
	}
	assert.True(t, found.Permission, "%+v", found)
	for _, r := range found.Requirements {
		switch r.Name {
		case "BTF", "cgroup v2":
		default:
			assert.False(t, r.Present, r.Name)
			assert.Equal(t, remedyCapability, r.Remedy, r.Name)
		}
	}
}
