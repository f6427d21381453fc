// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// needBPF skips where BPF cannot be had, unless the environment forbids it.
func needBPF(t testing.TB) {
	t.Helper()
	node, err := bpf.OpenNode()
	if err == nil {
		require.NoError(t, node.Close())
		return
	}
	if os.Getenv("REFLEX_REQUIRE_BPF") == "1" {
		t.Fatalf("REFLEX_REQUIRE_BPF=1, but BPF cannot be had: %v", err)
	}
	if errors.Is(err, bpf.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		t.Skipf("needs BPF; run as root on a kernel with BTF: %v", err)
	}
	t.Fatal(err)
}

// values returns the node's values by metric.
func values(md pmetric.Metrics) map[string]float64 {
	got := map[string]float64{}
	for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		points := m.Gauge().DataPoints
		if m.Type() == pmetric.MetricTypeSum {
			points = m.Sum().DataPoints
		}
		p := points().At(0)
		got[m.Name()] = p.DoubleValue() + float64(p.IntValue())
	}
	return got
}

func TestThisKernelIsSeenToMove(t *testing.T) {
	needBPF(t)
	sink := &consumertest.MetricsSink{}
	m := &meeting{}
	set := receivertest.NewNopSettings(metadata.Type)
	cfg := createDefaultConfig().(*Config)
	cfg.EmitInterval = 0
	r, err := newReceiver(set, cfg, sink)
	require.NoError(t, err)
	require.NoError(t, r.Start(context.Background(), host{component.MustNewID("reflex"): m}))
	defer func() { require.NoError(t, r.Shutdown(context.Background())) }()
	require.Eventually(t, func() bool { return len(sink.AllMetrics()) >= 1 }, deadline, 10*time.Millisecond)
	first := values(sink.AllMetrics()[0])

	self, err := os.Executable()
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, exec.Command(self, "-test.run=^$").Run())
	}
	after := len(sink.AllMetrics()) + 2 // a tick that began after the work
	require.Eventually(t, func() bool { return len(sink.AllMetrics()) >= after }, deadline, 10*time.Millisecond)
	all := sink.AllMetrics()
	last := values(all[len(all)-1])

	for _, f := range []arc.NodeField{
		arc.NodeCPUBusy, arc.NodeContextSwitches, arc.NodePageFaults, arc.NodeForks, arc.NodeExecs, arc.NodeExits,
	} {
		name := arc.NodeFields[f].Name
		require.Contains(t, first, name)
		assert.Greater(t, last[name], first[name], name)
	}
	assert.GreaterOrEqual(t, last["system.process.execs"]-first["system.process.execs"], 3.0)
	assert.Positive(t, last["system.memory.used"])
	assert.Less(t, last["system.memory.used"], last["system.memory.limit"])
	assert.Greater(t, m.observed.Load(), uint64(2))

	if r.running.sources.Cgroups != nil {
		assert.Greater(t, all[0].ResourceMetrics().Len(), 1, "the first delivery carries every cgroup")
	}
}
