// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// watchedHost counts what components report of their status.
type watchedHost struct {
	host
	reports atomic.Int64
}

func (h *watchedHost) Report(*componentstatus.Event) { h.reports.Add(1) }

// What a machine lacks is no error: the receiver starts, says each thing once,
// and delivers what is left.
func TestWhatAMachineLacksIsNamedAndTheRestIsDelivered(t *testing.T) {
	if !testmachine.Inside() {
		needBPF(t) // one thing is to be missing, not all
	}
	const (
		blocks   = "system.disk.block.operations"
		switches = "system.cpu.context_switches"
		execs    = "system.process.execs"
		forks    = "system.process.forks"
		cgroups  = "cgroup.cpu.time"
	)
	for name, tc := range map[string]struct {
		machine   testmachine.Machine
		named     []string
		unnamed   []string
		cause     string // of the first of named
		remedy    string
		delivered []string
		absent    []string
	}{
		"a program that the verifier refuses": {
			testmachine.WithBTF(testmachine.WithOtherTracepoint("block_rq_complete")),
			[]string{"tp_btf/block_rq_complete"},
			[]string{"eBPF", "iter/cgroup", "tp_btf/sched_process_exec"},
			"refused by the verifier", "report this",
			[]string{execs, forks, switches, cgroups, blocks},
			nil, // of /proc/diskstats
		},
		"the node's program refused": {
			testmachine.WithBTF(testmachine.WithoutMember("rq", "nr_switches")),
			[]string{"syscall/sample_node"},
			[]string{"eBPF", "iter/cgroup", "tp_btf/sched_process_exec"},
			"refused by the verifier", "report this",
			[]string{execs, forks, switches, cgroups, blocks},
			[]string{"system.process.uninterruptible"},
		},
		"the sweep refused": {
			testmachine.WithBTF(testmachine.WithoutMember("cgroup", "kn")),
			[]string{"iter/cgroup"},
			[]string{"eBPF", "tp_btf/sched_process_exec"},
			"refused by the verifier", "cgroupfs",
			[]string{execs, forks, switches, cgroups, blocks},
			nil,
		},
		"no tracepoint": {
			testmachine.WithBTF(testmachine.WithoutTracepoint("sched_process_exec")),
			[]string{"tp_btf/sched_process_exec"},
			[]string{"eBPF", "iter/cgroup", "tp_btf/sched_process_fork"},
			"no such tracepoint", "tracepoint",
			[]string{forks, switches, cgroups, blocks},
			[]string{execs},
		},
		"no BTF": {
			testmachine.WithoutBTF(),
			[]string{"BTF", "eBPF", "iter/cgroup"},
			[]string{"CAP_BPF"},
			"no BTF", "CONFIG_DEBUG_INFO_BTF",
			[]string{forks, switches, cgroups, blocks},
			[]string{execs},
		},
		"no privilege": {
			testmachine.WithoutPrivilege(),
			[]string{"CAP_BPF", "CAP_PERFMON", "eBPF", "iter/cgroup"},
			[]string{"BTF"},
			"not in the effective set", "cap_bpf,cap_perfmon",
			[]string{forks, switches, cgroups, blocks},
			[]string{execs},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !testmachine.Run(t, tc.machine) {
				return
			}
			tel := componenttest.NewTelemetry()
			core, logs := observer.New(zapcore.WarnLevel)
			set := receivertest.NewNopSettings(metadata.Type)
			set.TelemetrySettings = tel.NewTelemetrySettings()
			set.Logger = zap.New(core)
			sink, m := &consumertest.MetricsSink{}, &meeting{}
			h := &watchedHost{host: host{component.MustNewID("reflex"): m}}
			r, err := newReceiver(set, createDefaultConfig().(*Config), sink)
			require.NoError(t, err)
			require.NoError(t, r.Start(context.Background(), h))
			defer func() { require.NoError(t, r.Shutdown(context.Background())) }()
			require.Eventually(t, func() bool { return len(sink.AllMetrics()) >= 2 }, 2*deadline, 10*time.Millisecond)

			warned := map[string]map[string]any{}
			for _, entry := range logs.All() {
				requirement, ok := entry.ContextMap()["requirement"].(string)
				require.True(t, ok, "%s %v", entry.Message, entry.ContextMap())
				assert.NotContains(t, warned, requirement, "warned twice")
				warned[requirement] = entry.ContextMap()
				assert.NotEmpty(t, warned[requirement]["cause"], requirement)
				assert.NotEmpty(t, warned[requirement]["remedy"], requirement)
				assert.NotContains(t, warned[requirement]["cause"], "\n", requirement)
				assert.NotContains(t, warned[requirement]["cause"], "MEMLOCK", "a suspicion of the library's")
			}
			for _, requirement := range tc.named {
				assert.Contains(t, warned, requirement)
			}
			for _, requirement := range tc.unnamed {
				assert.NotContains(t, warned, requirement)
			}
			assert.Contains(t, warned[tc.named[0]]["cause"], tc.cause)
			for _, requirement := range tc.named {
				assert.Contains(t, warned[requirement]["remedy"], tc.remedy, requirement)
			}

			// Telemetry and the arc's meeting point are told the same.
			assert.ElementsMatch(t, slices.Collect(maps.Keys(warned)), missingInTelemetry(t, tel))
			var reported []string
			for _, q := range *m.missing.Load() {
				reported = append(reported, q.Name)
			}
			assert.ElementsMatch(t, slices.Collect(maps.Keys(warned)), reported)
			assert.Zero(t, h.reports.Load(), "to do without something is not an error")

			delivered := map[string]bool{}
			for _, md := range sink.AllMetrics() {
				for _, rm := range md.ResourceMetrics().All() {
					for _, sm := range rm.ScopeMetrics().All() {
						for _, metric := range sm.Metrics().All() {
							delivered[metric.Name()] = true
						}
					}
				}
			}
			if _, err := cgroupfs.FindRoot(); err != nil { // nor are there cgroups here
				tc.delivered = slices.DeleteFunc(tc.delivered, func(metric string) bool { return metric == cgroups })
			}
			for _, metric := range tc.delivered {
				assert.True(t, delivered[metric], metric)
			}
			for _, metric := range tc.absent {
				assert.False(t, delivered[metric], metric)
			}
			assert.Positive(t, m.observed.Load(), "the arc sees the ticks")
		})
	}
}

// missingInTelemetry returns the requirements of otelcol_receiver_ebpf_missing.
func missingInTelemetry(t *testing.T, tel *componenttest.Telemetry) []string {
	t.Helper()
	got, err := tel.GetMetric("otelcol_receiver_ebpf_missing")
	require.NoError(t, err)
	var names []string
	for _, p := range got.Data.(metricdata.Gauge[int64]).DataPoints {
		assert.EqualValues(t, 1, p.Value)
		name, ok := p.Attributes.Value("requirement")
		require.True(t, ok)
		names = append(names, name.AsString())
	}
	return names
}
