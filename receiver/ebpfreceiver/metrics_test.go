// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.yaml.in/yaml/v3"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// booted is when the fake machine was booted, in ns since the Unix epoch, opened how
// long it had been up when its sources were.
const (
	booted = int64(1_600_000_000_000_000_000)
	opened = int64(99_999_999_000_000_000)
)

func fakeSample(t testing.TB, k *fakeKernel, sequence uint64) *arc.Sample {
	t.Helper()
	s := &arc.Sample{Source: "ebpf/one", Sequence: sequence, Taken: opened + int64(time.Second) + int64(sequence)*1e8}
	s.WallTime = booted + s.Taken
	require.NoError(t, k.Read(&s.Node))
	require.NoError(t, k.Sweep(&s.Cgroups))
	return s
}

func fakeWriter(k *fakeKernel, change func(*metadata.MetricsConfig)) *writer {
	enabled := metadata.DefaultMetricsConfig()
	if change != nil {
		change(&enabled)
	}
	var starts [arc.NumNodeFields]int64
	for f := range starts {
		starts[f] = opened
	}
	starts[arc.NodeCPUBusy] = 0 // since boot
	return newWriter("1.2.3", enabled, starts, newIdentities(k, 100))
}

func TestWrittenMetrics(t *testing.T) {
	for name, rows := range map[string][]int{
		"node_only":  nil,
		"movers":     {2},
		"full_sweep": {0, 1, 2, 3, 4},
	} {
		t.Run(name, func(t *testing.T) {
			k := &fakeKernel{}
			md := fakeWriter(k, nil).write(fakeSample(t, k, 7), rows, map[bool]string{true: sweepFull, false: sweepMovers}[name == "full_sweep"])
			path := filepath.Join("testdata", "golden", name+".yaml")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, golden.WriteMetricsToFile(path, md, golden.SkipMetricTimestampNormalization()))
			}
			want, err := golden.ReadMetrics(path)
			require.NoError(t, err)
			require.NoError(t, pmetrictest.CompareMetrics(want, md))
		})
	}
}

func TestReadersKnowTheAttributes(t *testing.T) {
	assert.Equal(t, []string{reading.AttributeSource, reading.AttributeSequence, reading.AttributeCgroup, reading.AttributeSweep, reading.SweepFull, reading.SweepMovers},
		[]string{attributeSource, attributeSequence, attributeCgroupID, attributeSweep, sweepFull, sweepMovers})
}

func TestStartOfACgroupIsItsFirstObservation(t *testing.T) {
	k := &fakeKernel{}
	w := fakeWriter(k, nil)
	start := func(sequence uint64, rows ...int) (start, now pcommon.Timestamp) {
		md := w.write(fakeSample(t, k, sequence), rows, sweepMovers)
		metrics := md.ResourceMetrics().At(1).ScopeMetrics().At(0).Metrics()
		for i := range metrics.Len() {
			if m := metrics.At(i); m.Name() == "cgroup.cpu.time" {
				p := m.Sum().DataPoints().At(0)
				return p.StartTimestamp(), p.Timestamp()
			}
		}
		t.Fatal("no cgroup.cpu.time")
		return 0, 0
	}
	first, now := start(1, 2)
	assert.Equal(t, now, first)
	again, now := start(2, 2, 3) // beside one that is new
	assert.Equal(t, first, again)
	assert.Greater(t, now, again)
}

func TestAMetricThatIsOffIsNotWritten(t *testing.T) {
	k := &fakeKernel{}
	w := fakeWriter(k, func(cfg *metadata.MetricsConfig) {
		cfg.SystemProcessForks.Enabled = false
		cfg.CgroupMemoryUsage.Enabled = false
	})
	md := w.write(fakeSample(t, k, 1), []int{1}, sweepMovers)
	names := map[string]bool{}
	for _, rm := range md.ResourceMetrics().All() {
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			names[m.Name()] = true
		}
	}
	assert.NotContains(t, names, "system.process.forks")
	assert.NotContains(t, names, "cgroup.memory.usage")
	assert.Contains(t, names, "system.process.exits")
	assert.Contains(t, names, "cgroup.memory.limit")
}

// TestMetadataAgreesWithTheArc keeps the documented metrics the written ones.
func TestMetadataAgreesWithTheArc(t *testing.T) {
	text, err := os.ReadFile("metadata.yaml")
	require.NoError(t, err)
	type values struct {
		ValueType   string `yaml:"value_type"`
		Monotonic   bool   `yaml:"monotonic"`
		Temporality string `yaml:"aggregation_temporality"`
	}
	var documented struct {
		Metrics map[string]struct {
			Description string  `yaml:"description"`
			Unit        string  `yaml:"unit"`
			Sum         *values `yaml:"sum"`
			Gauge       *values `yaml:"gauge"`
		} `yaml:"metrics"`
	}
	require.NoError(t, yaml.Unmarshal(text, &documented))
	fields := append(arc.NodeFields[:], arc.CgroupFields[:]...)
	assert.Len(t, documented.Metrics, len(fields))
	for _, f := range fields {
		m, ok := documented.Metrics[f.Name]
		require.True(t, ok, "%s is not in metadata.yaml", f.Name)
		assert.Equal(t, f.Unit, m.Unit, f.Name)
		assert.Equal(t, strings.ToLower(f.Help)+".", strings.ToLower(m.Description), f.Name)
		v := m.Gauge
		if f.Kind == arc.Counter {
			v = m.Sum
		}
		require.NotNil(t, v, "%s is a %s", f.Name, f.Kind)
		if f.Kind == arc.Counter {
			assert.True(t, v.Monotonic, f.Name)
			assert.Equal(t, "cumulative", v.Temporality, f.Name)
		}
		want := "int"
		if fractional(f.Unit) {
			want = "double"
		}
		assert.Equal(t, want, v.ValueType, f.Name)
	}
}

func TestIdentitiesAreBounded(t *testing.T) {
	k := &fakeKernel{}
	ids := newIdentities(k, 1)
	s := fakeSample(t, k, 1)
	ids.resolve(s, []int{0, 1, 2, 3, 4})
	assert.Len(t, ids.known, 4, "what is gone has no name")
	s.Sequence = 2
	ids.resolve(s, []int{2})
	assert.Len(t, ids.known, 1, "too many: only what is needed is kept")

	s.Sequence = 3
	ids.resolve(s, []int{1})
	ids.forget(3)
	assert.Len(t, ids.known, 1, "forgotten when a full sweep did not see it")
	assert.NotNil(t, ids.of(2))
}

func TestManyNewCgroupsAreNamedByOneWalk(t *testing.T) {
	walked := &walkOnly{}
	ids := newIdentities(walked, 100)
	s := &arc.Sample{Sequence: 1}
	var rows []int
	for id := uint64(1); id <= walkInstead; id++ {
		rows = append(rows, s.Cgroups.Append(id, 0))
	}
	ids.resolve(s, rows)
	assert.Equal(t, 1, walked.walks)
	assert.Len(t, ids.known, len(fakePaths), "those that the walk did not find are gone")
	assert.Equal(t, "/system.slice", ids.of(2).path)
}

// walkOnly fails a test that looks cgroups up one by one.
type walkOnly struct {
	fakeKernel
	walks int
}

func (*walkOnly) Path(uint64) (string, error) { panic("looked up one by one") }

func (w *walkOnly) Walk(visit func(id, parent uint64, path string) error) error {
	w.walks++
	return w.fakeKernel.Walk(visit)
}

func TestWithoutARootACgroupIsItsID(t *testing.T) {
	k := &fakeKernel{}
	w := fakeWriter(k, nil)
	*w.identities = *newIdentities(nil, 10)
	md := w.write(fakeSample(t, k, 1), []int{4}, sweepMovers)
	require.Equal(t, 2, md.ResourceMetrics().Len())
	assert.Equal(t, map[string]any{attributeCgroupID: int64(5)}, md.ResourceMetrics().At(1).Resource().Attributes().AsRaw())
}

func BenchmarkWriteFullSweepOf1000Cgroups(b *testing.B) {
	w := fakeWriter(&fakeKernel{}, nil)
	*w.identities = *newIdentities(nil, 4096)
	s := &arc.Sample{}
	rows := make([]int, 1000)
	for i := range rows {
		rows[i] = i
		row := s.Cgroups.Append(uint64(i+1), 1)
		for f := range arc.NumCgroupFields {
			s.Cgroups.Set(f, row, uint64(i))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = w.write(s, rows, sweepFull)
	}
}
