// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"errors"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/sampler"
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
	s := &sources{}
	s.openNodeFrom(few)
	defer s.close()

	n := absent()
	require.NoError(t, s.node.Read(&n))
	assert.InDelta(t, 3, n[arc.NodeForks], 0)
	assert.Positive(t, n[arc.NodePageFaults], "/proc fills what BPF does not")
	assert.False(t, s.sinceBoot[arc.NodeForks], "counted by BPF since it was opened")
	assert.True(t, s.sinceBoot[arc.NodeContextSwitches], "counted by the kernel")

	few.err = errors.New("gone")
	n = absent()
	require.ErrorIs(t, s.node.Read(&n), few.err)
	assert.True(t, math.IsNaN(n[arc.NodeForks]), "/proc counts from another origin: absent is right, its value is not")
	assert.Positive(t, n[arc.NodePageFaults])
}

func TestWithoutBPFEverythingInProcIsRead(t *testing.T) {
	s := &sources{}
	s.openNodeFrom(nil)
	defer s.close()
	n := absent()
	require.NoError(t, s.node.Read(&n))
	for _, f := range []arc.NodeField{arc.NodeForks, arc.NodeContextSwitches, arc.NodeCPUBusy, arc.NodeMemoryUsed} {
		assert.Positive(t, n[f], arc.NodeFields[f].Name)
		assert.True(t, s.sinceBoot[f], arc.NodeFields[f].Name)
	}
}

func TestACgroupRootThatIsNotThereIsMissingAndNothingElse(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.CgroupRoot = filepath.Join(t.TempDir(), "nowhere")
	s := &sources{}
	s.openCgroups(cfg, sampler.SystemClock{})
	defer s.close()
	assert.Nil(t, s.cgroups)
	assert.Nil(t, s.root)
	require.Len(t, s.missing, 1)
	assert.Equal(t, "cgroup v2", s.missing[0].name)
	assert.Contains(t, s.missing[0].cause, "nowhere")
	assert.Contains(t, s.missing[0].remedy, "cgroup_root")
}

func TestWithoutTheIteratorCgroupsAreReadFromFiles(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.CgroupRoot = t.TempDir() // no cgroup v2, so BPF refuses it
	s := &sources{}
	s.openCgroups(cfg, sampler.SystemClock{})
	defer s.close()
	defer s.root.Close()
	var sweep arc.Sweep
	require.NoError(t, s.cgroups.Sweep(&sweep))
	assert.Equal(t, 1, sweep.Len(), "the root itself")
	names := map[string]bool{}
	for _, m := range s.missing {
		names[m.name] = true
		assert.NotEmpty(t, m.cause)
		assert.NotEmpty(t, m.remedy)
		if m.name == "memory controller" {
			assert.Contains(t, m.remedy, "nobody can be contained")
		}
	}
	assert.True(t, names["iter/cgroup"])
	assert.True(t, names["memory controller"])
}

func TestWhatIsMissingIsNotedOnce(t *testing.T) {
	s := &sources{}
	s.lack("BTF", "first", "")
	s.lack("BTF", "second", "")
	assert.Equal(t, []requirement{{name: "BTF", cause: "first"}}, s.missing)
}

func TestCountersStartAtBootOrWhereBPFBegan(t *testing.T) {
	k := &fakeKernel{}
	r := newFake(t, k, consumertest.NewNop(), nil)
	src := k.open()(nil, nil)
	before := time.Now()
	starts := r.starts(src)
	uptime := time.Duration(r.clock.Now())
	assert.WithinDuration(t, before.Add(-uptime), starts[arc.NodeCPUBusy].AsTime(), time.Second)
	assert.WithinDuration(t, before, starts[arc.NodeForks].AsTime(), time.Second)
}
