// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// missingOf returns what is missing, by name.
func missingOf(all []Requirement) map[string]Requirement {
	named := map[string]Requirement{}
	for _, r := range missing(all) {
		named[r.Name] = r
	}
	return named
}

// without leaves out what this very kernel may lack.
func without(named map[string]Requirement, names ...string) map[string]Requirement {
	for _, name := range names {
		delete(named, name)
	}
	return named
}

// works starts a process and says which fields the node has read.
func works(t *testing.T, n *Node) *arc.Node {
	t.Helper()
	require.NoError(t, startSpinner(t, 0, -1).Wait())
	into := absent()
	require.NoError(t, n.Read(into))
	return into
}

func TestAProgramThatTheVerifierRefusesIsNamedAndTheRestWorks(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithBTF(testmachine.WithOtherTracepoint("block_rq_complete"))) {
		return
	}
	n := openNode(t)
	named := without(missingOf(n.requirements), "SCHEDSTATS", "SWAP", "COMPACTION", "PSI")
	require.Len(t, named, 1, "%+v", named)
	refused := named["tp_btf/block_rq_complete"]
	// What the verifier said last of the program is what helps.
	assert.Regexp(t, `refused by the verifier: .*(invalid mem access|must be pointer)`, refused.Cause)
	assert.NotContains(t, refused.Cause, "\n")
	assert.Equal(t, remedyReport, refused.Remedy)

	into := works(t, n)
	assert.Positive(t, into[arc.NodeForks])
	assert.Positive(t, into[arc.NodeExecs])
	assert.Positive(t, into[arc.NodeContextSwitches])
	for _, f := range []arc.NodeField{arc.NodeBlockOperations, arc.NodeBlockTime, arc.NodeBlockBytes} {
		assert.True(t, math.IsNaN(into[f]), arc.NodeFields[f].Name)
	}
}

func TestATracepointThatIsNotThereIsNamedAndTheRestWorks(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithBTF(testmachine.WithoutTracepoint("sched_process_exec"))) {
		return
	}
	n := openNode(t)
	named := without(missingOf(n.requirements), "SCHEDSTATS", "SWAP", "COMPACTION", "PSI")
	require.Len(t, named, 1, "%+v", named)
	assert.Contains(t, named["tp_btf/sched_process_exec"].Cause, "count_exec")
	assert.Equal(t, remedyTracepoint, named["tp_btf/sched_process_exec"].Remedy)
	into := works(t, n)
	assert.Positive(t, into[arc.NodeForks])
	assert.True(t, math.IsNaN(into[arc.NodeExecs]))
}

// Each of the two programs that are run at the tick can be refused alone.
func TestTheProgramOfTheNodeIsRefusedAlone(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithBTF(testmachine.WithoutMember("rq", "nr_switches"))) {
		return
	}
	n := openNode(t)
	named := missingOf(n.requirements)
	require.Len(t, named, 1, "%+v", named)
	assert.NotEmpty(t, named["syscall/sample_node"].Cause)
	into := works(t, n)
	assert.Positive(t, into[arc.NodeForks])
	assert.True(t, math.IsNaN(into[arc.NodeContextSwitches]))

	root, err := cgroupfs.FindRoot()
	if err != nil {
		t.Skip(err)
	}
	c, err := OpenCgroups(root, 0)
	unable(t, err)
	defer c.Close()
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	assert.NotZero(t, s.Len())
}

func TestTheSweepIsRefusedAlone(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithBTF(testmachine.WithoutMember("cgroup", "kn"))) {
		return
	}
	root, err := cgroupfs.FindRoot()
	if err != nil {
		t.Skip(err)
	}
	_, err = OpenCgroups(root, 0)
	require.Error(t, err)
	r := Lacking("iter/cgroup", err)
	assert.NotEmpty(t, r.Cause)
	assert.NotContains(t, r.Cause, "\n")

	n := openNode(t)
	assert.Empty(t, without(missingOf(n.requirements), "SCHEDSTATS", "SWAP", "COMPACTION", "PSI"))
	assert.Positive(t, works(t, n)[arc.NodeForks])
}

func TestWithoutBTFThatIsNamed(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithoutBTF()) {
		return
	}
	_, err := OpenNode()
	require.ErrorIs(t, err, ErrUnsupported)
	named := missingOf(Probe())
	assert.Equal(t, remedyBTF, named["BTF"].Remedy)
	assert.NotContains(t, named, "CAP_BPF")
}
