// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// deadline is how long tests wait for what should come at once.
const deadline = 10 * time.Second

// fakeKernel stands for BPF, /proc and cgroupfs.
type fakeKernel struct {
	reads  atomic.Uint64
	closed atomic.Bool
	err    error
}

func (k *fakeKernel) Read(into *arc.Node) error {
	n := k.reads.Add(1)
	for f := range into {
		into[f] = float64(n)*1000 + float64(f) + 0.5
	}
	into[arc.NodeExecs] = math.NaN() // what is missing is not written
	return k.err
}

// fakePaths are the cgroups of the fake kernel, by id.
var fakePaths = map[uint64]string{
	1: "/",
	2: "/system.slice",
	3: "/system.slice/payment.service",
	4: "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0d9c1f3a_5b7e_4c11_9d2f_8a6b4c3d2e1f.slice/cri-containerd-" +
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.scope",
}

func (k *fakeKernel) Sweep(into *arc.Sweep) error {
	n := k.reads.Load()
	into.Reset()
	for id := uint64(1); id <= 5; id++ { // 5 has no name: it is gone
		row := into.Append(id, id/2)
		if id == 1 {
			continue // the root has no files of its own
		}
		into.Set(arc.CgroupMemoryUsage, row, 1<<20)
		into.Set(arc.CgroupMemoryHigh, row, arc.Unlimited)
		into.Set(arc.CgroupMemoryMax, row, id<<30)
		into.Set(arc.CgroupCPUTime, row, 2_500_000_000)
		into.Set(arc.CgroupCPUThrottledTime, row, 70_000_000)
		into.Set(arc.CgroupPids, row, id)
		into.Set(arc.CgroupPidsMax, row, arc.Unlimited)
		if id == 3 { // the only one that moves
			into.Set(arc.CgroupMemoryUsage, row, n<<20)
			into.Set(arc.CgroupBytesSent, row, 15_000) // the only one of which it is known
			into.Set(arc.CgroupTCPOpens, row, 3)
		}
	}
	return nil
}

func (k *fakeKernel) Path(id uint64) (string, error) {
	if path, ok := fakePaths[id]; ok {
		return path, nil
	}
	return "", fmt.Errorf("open cgroup %d: %w", id, cgroupfs.ErrGone)
}

func (k *fakeKernel) Walk(visit func(id, parent uint64, path string) error) error {
	for id, path := range fakePaths {
		if err := visit(id, 0, path); err != nil {
			return err
		}
	}
	return nil
}

func (k *fakeKernel) OpenPath(path string) (*cgroupfs.Dir, error) {
	return nil, fmt.Errorf("open cgroup %s: %w", path, cgroupfs.ErrGone)
}

func (k *fakeKernel) Close() error {
	k.closed.Store(true)
	return nil
}

func (k *fakeKernel) open(missing ...arc.Requirement) func(sources.Settings, sampler.Clock) *sources.Sources {
	return func(sources.Settings, sampler.Clock) *sources.Sources {
		s := &sources.Sources{Node: k, Cgroups: k, Names: k, Missing: missing}
		s.CloseAlso(k)
		s.SinceBoot[arc.NodeCPUBusy] = true
		return s
	}
}

func newFake(t *testing.T, k *fakeKernel, next consumer.Metrics, change func(*Config, *receiver.Settings)) *ebpfReceiver {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Interval, cfg.EmitInterval = sampler.FastestInterval, 0
	set := receivertest.NewNopSettings(metadata.Type)
	set.ID = component.MustNewID("ebpf")
	if change != nil {
		change(cfg, &set)
	}
	r, err := newReceiver(set, cfg, next)
	require.NoError(t, err)
	r.open = k.open()
	return r
}

// consume is a consumer made of a function.
type consume func(context.Context, pmetric.Metrics) error

func (consume) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (c consume) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error { return c(ctx, md) }
