// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
)

// fewPrograms stands for BPF of which only some programs could be loaded.
type fewPrograms struct{ err error }

func (f *fewPrograms) Read(into *arc.Node) error {
	if f.err != nil {
		return f.err
	}
	into[arc.NodeForks], into[arc.NodeContextSwitches] = 3, 4
	return nil
}

func absent() (n arc.Node) {
	for f := range n {
		n[f] = math.NaN()
	}
	return n
}

func TestADimensionKeepsItsSource(t *testing.T) {
	few := &fewPrograms{}
	s := &Sources{}
	s.openNodeFrom(few)
	defer s.Close()

	n := absent()
	require.NoError(t, s.Node.Read(&n))
	assert.InDelta(t, 3, n[arc.NodeForks], 0)
	assert.Positive(t, n[arc.NodePageFaults], "/proc fills what BPF does not")
	assert.False(t, s.SinceBoot[arc.NodeForks], "counted by BPF since it was opened")
	assert.True(t, s.SinceBoot[arc.NodeContextSwitches], "counted by the kernel")

	few.err = errors.New("gone")
	n = absent()
	require.ErrorIs(t, s.Node.Read(&n), few.err)
	assert.True(t, math.IsNaN(n[arc.NodeForks]), "/proc counts from another origin: absent is right, its value is not")
	assert.Positive(t, n[arc.NodePageFaults])
}

func TestWithoutBPFEverythingInProcIsRead(t *testing.T) {
	s := &Sources{}
	s.openNodeFrom(nil)
	defer s.Close()
	n := absent()
	require.NoError(t, s.Node.Read(&n))
	for _, f := range []arc.NodeField{arc.NodeForks, arc.NodeContextSwitches, arc.NodeCPUBusy, arc.NodeMemoryUsed} {
		assert.Positive(t, n[f], arc.NodeFields[f].Name)
		assert.True(t, s.SinceBoot[f], arc.NodeFields[f].Name)
	}
}

func TestACgroupRootThatIsNotThereIsMissingAndNothingElse(t *testing.T) {
	set := Settings{CgroupRoot: filepath.Join(t.TempDir(), "nowhere"), MaxCgroups: 64}
	s := &Sources{}
	s.openCgroups(set, new(sampler.SystemClock))
	defer s.Close()
	assert.Nil(t, s.Cgroups)
	assert.Nil(t, s.Names)
	require.Len(t, s.Missing, 1)
	assert.Equal(t, "cgroup v2", s.Missing[0].Name)
	assert.Contains(t, s.Missing[0].Cause, "nowhere")
	assert.Contains(t, s.Missing[0].Remedy, "cgroup_root")
}

func TestCgroupsAreLeftOutWhenNobodyWantsThem(t *testing.T) {
	s := Open(Settings{CgroupRoot: filepath.Join(t.TempDir(), "nowhere"), MaxCgroups: 64, NodeOnly: true}, new(sampler.SystemClock))
	defer s.Close()
	assert.NotNil(t, s.Node)
	assert.Nil(t, s.Cgroups)
	assert.Nil(t, s.Names)
	for _, m := range s.Missing {
		assert.NotEqual(t, "cgroup v2", m.Name)
	}
}

func TestWithoutTheIteratorCgroupsAreReadFromFiles(t *testing.T) {
	set := Settings{CgroupRoot: t.TempDir(), MaxCgroups: 64, CgroupNetwork: true} // no cgroup v2, so BPF refuses it
	s := &Sources{}
	s.openCgroups(set, new(sampler.SystemClock))
	defer s.Close()
	defer s.Names.Close()
	var sweep arc.Sweep
	require.NoError(t, s.Cgroups.Sweep(&sweep))
	assert.Equal(t, 1, sweep.Len(), "the root itself")
	names := map[string]bool{}
	for _, m := range s.Missing {
		names[m.Name] = true
		assert.NotEmpty(t, m.Cause)
		assert.NotEmpty(t, m.Remedy)
		if m.Name == "memory controller" {
			assert.Contains(t, m.Remedy, "nobody can be contained")
		}
	}
	assert.True(t, names["iter/cgroup"])
	assert.True(t, names["cgroup_skb"], "files do not tell traffic")
	assert.True(t, names["memory controller"])
	assert.True(t, names["PSI of cgroups"], "there is no cpu.pressure")
}

func TestWhatIsMissingIsNotedOnce(t *testing.T) {
	s := &Sources{}
	s.lack("BTF", "first", "")
	s.lack("BTF", "second", "")
	assert.Equal(t, []arc.Requirement{{Name: "BTF", Cause: "first"}}, s.Missing)
}
