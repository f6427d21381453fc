// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadatatest"
)

// ticks is a sampler of an imaginary quiet node.
type ticks struct {
	rng    *rand.Rand
	sample arc.Sample
	leak   float64 // bytes/s
}

func newTicks() *ticks {
	k := &ticks{rng: rand.New(rand.NewPCG(1, 2))}
	k.sample.Source = "ebpf"
	k.sample.Node[arc.NodeMemoryUsed] = 1e9
	return k
}

// next advances by 100 ms.
func (k *ticks) next() *arc.Sample {
	s := &k.sample
	s.Sequence++
	s.Interval = int64(100 * time.Millisecond)
	s.Scheduled = int64(s.Sequence) * s.Interval
	s.Taken = s.Scheduled + 50_000
	s.WallTime = 1_700_000_000_000_000_000 + s.Scheduled
	for f, field := range arc.NodeFields {
		if field.Kind == arc.Counter {
			s.Node[f] += math.Abs(1 + 0.2*k.rng.NormFloat64())
		}
	}
	s.Node[arc.NodeMemoryUsed] += k.leak/10 + 1e5*k.rng.NormFloat64()
	return s
}

// metrics is the present tick as the ebpf receiver sends it: the node and one cgroup.
func (k *ticks) metrics() pmetric.Metrics {
	md := pmetric.NewMetrics()
	sm := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	sm.Scope().SetName("github.com/otelcol-reflex/reflex/receiver/ebpfreceiver")
	sm.Scope().Attributes().PutStr("reflex.source", "ebpf")
	sm.Scope().Attributes().PutInt("reflex.sequence", int64(k.sample.Sequence))
	at := pcommon.Timestamp(k.sample.WallTime)
	for f, field := range arc.NodeFields {
		put(sm, field.Name, field.Kind == arc.Counter, k.sample.Node[f], at)
	}
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutInt("reflex.cgroup.id", 7)
	put(rm.ScopeMetrics().AppendEmpty(), "system.memory.used", false, 1, at)
	return md
}

func put(sm pmetric.ScopeMetrics, name string, counter bool, v float64, at pcommon.Timestamp) {
	m := sm.Metrics().AppendEmpty()
	m.SetName(name)
	var p pmetric.NumberDataPoint
	if counter {
		m.SetEmptySum().SetIsMonotonic(true)
		m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		p = m.Sum().DataPoints().AppendEmpty()
	} else {
		p = m.SetEmptyGauge().DataPoints().AppendEmpty()
	}
	p.SetDoubleValue(v)
	p.SetTimestamp(at)
}

// scoresOf returns the values in md's score scopes.
func scoresOf(md pmetric.Metrics) map[string]float64 {
	found := map[string]float64{}
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			if sm.Scope().Name() != metadata.ScopeName {
				continue
			}
			for _, m := range sm.Metrics().All() {
				for _, p := range m.Gauge().DataPoints().All() {
					name, v := m.Name(), p.DoubleValue()
					if d, ok := p.Attributes().Get("reflex.dimension"); ok {
						name += "{" + d.Str() + "}"
					}
					if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
						v = float64(p.IntValue())
					}
					found[name] = v
				}
			}
		}
	}
	return found
}

func TestStandaloneJudgesTheNode(t *testing.T) {
	sink := new(consumertest.MetricsSink)
	p := create(t, NewFactory(), createDefaultConfig().(*Config), sink)
	require.NoError(t, p.Start(context.Background(), host{}))
	defer func() { require.NoError(t, p.Shutdown(context.Background())) }()
	src := newTicks()
	run := func(n int) pmetric.Metrics {
		for range n {
			src.next()
			require.NoError(t, p.ConsumeMetrics(context.Background(), src.metrics()))
		}
		all := sink.AllMetrics()
		return all[len(all)-1]
	}
	assert.Empty(t, scoresOf(run(290)), "warming up")
	healthy := run(110)
	assert.Equal(t, 0.0, scoresOf(healthy)["reflex.score.anomalous"])
	assert.Contains(t, scoresOf(healthy), "reflex.score.distance")
	src.leak = 50e6
	leaking := run(2)
	assert.Equal(t, 1.0, scoresOf(leaking)["reflex.score.anomalous"])
	assert.Positive(t, scoresOf(leaking)["reflex.score.contribution{system.memory.used.growth}"])
}

// hostScrape is a batch as the host_metrics receiver sends it: a resource per
// scraper, all with the same attributes.
func hostScrape(rng *rand.Rand, k int64, name string, leak float64) pmetric.Metrics {
	md := pmetric.NewMetrics()
	at := pcommon.Timestamp(1_700_000_000_000_000_000 + k*10_000_000_000)
	resource := func() pmetric.ScopeMetrics {
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("host.name", name)
		return rm.ScopeMetrics().AppendEmpty()
	}
	cpu := resource()
	m := cpu.Metrics().AppendEmpty()
	m.SetName("system.cpu.time")
	m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for c := range 2 {
		for s, state := range []string{"user", "system", "idle", "wait"} {
			p := m.Sum().DataPoints().AppendEmpty()
			p.Attributes().PutInt("cpu", int64(c))
			p.Attributes().PutStr("state", state)
			p.SetDoubleValue(float64(k) * (3 - 0.5*float64(s)))
			p.SetTimestamp(at)
		}
	}
	memory := resource()
	m = memory.Metrics().AppendEmpty()
	m.SetName("system.memory.usage")
	m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for _, state := range []string{"used", "free"} {
		p := m.Sum().DataPoints().AppendEmpty()
		p.Attributes().PutStr("state", state)
		p.SetIntValue(int64(2e9 + 1e6*rng.NormFloat64() + leak))
		p.SetTimestamp(at)
	}
	return md
}

func TestStandaloneJudgesOtherMetricsUnharmed(t *testing.T) {
	tel := componenttest.NewTelemetry()
	defer func() { require.NoError(t, tel.Shutdown(context.Background())) }()
	sink := new(consumertest.MetricsSink)
	p, err := NewFactory().CreateMetrics(context.Background(), metadatatest.NewSettings(tel), load(t, "mahalanobis/host"), sink)
	require.NoError(t, err)
	require.NoError(t, p.Start(context.Background(), host{}))
	rng := rand.New(rand.NewPCG(5, 5))
	judged := 0
	for k := range int64(120) {
		leak := 0.0
		if k == 119 {
			leak = 5e8
		}
		sent := hostScrape(rng, k, "a", leak)
		histogram := sent.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty()
		histogram.SetName("system.cpu.time")
		histogram.SetEmptyHistogram().DataPoints().AppendEmpty().SetCount(3)
		original := pmetric.NewMetrics()
		sent.CopyTo(original)
		sink.Reset()
		require.NoError(t, p.ConsumeMetrics(context.Background(), sent))
		got := sink.AllMetrics()[0]
		s := scoresOf(got)
		if len(s) > 0 {
			judged++
			last := got.ResourceMetrics().At(1).ScopeMetrics()
			require.Equal(t, metadata.ScopeName, last.At(last.Len()-1).Scope().Name(), "once, on the last piece of the resource")
			last.RemoveIf(func(sm pmetric.ScopeMetrics) bool { return sm.Scope().Name() == metadata.ScopeName })
		}
		require.NoError(t, pmetrictest.CompareMetrics(original, got), "nothing but the score was added")
		if k == 119 {
			assert.Equal(t, 1.0, s["reflex.score.anomalous"])
			assert.Positive(t, s["reflex.score.contribution{system.memory.usage.used.growth}"])
			assert.NotContains(t, s, "reflex.score.contribution{system.disk.io}", "absent")
		}
	}
	assert.Greater(t, judged, 40, "a few decisions a dimension to warm up")
	metadatatest.AssertEqualProcessorMahalanobisStreams(t, tel, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	require.NoError(t, p.Shutdown(context.Background()))
	metadatatest.AssertEqualProcessorMahalanobisStreams(t, tel, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
}

func TestForeignMetricsPassUntouched(t *testing.T) {
	sink := new(consumertest.MetricsSink)
	p := create(t, NewFactory(), createDefaultConfig().(*Config), sink)
	require.NoError(t, p.Start(context.Background(), host{reflexID: &meeting{}}))
	md := pmetric.NewMetrics()
	sm := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	sm.Scope().Attributes().PutStr("reflex.source", "elsewhere")
	sm.Scope().Attributes().PutInt("reflex.sequence", 4)
	put(sm, "http.server.active_requests", false, 3, 1)
	sm.Metrics().AppendEmpty().SetName("empty")
	md.ResourceMetrics().AppendEmpty()
	want := pmetric.NewMetrics()
	md.CopyTo(want)
	require.NoError(t, p.ConsumeMetrics(context.Background(), md))
	require.NoError(t, pmetrictest.CompareMetrics(want, sink.AllMetrics()[0]))
	require.NoError(t, p.Shutdown(context.Background()))
}

func TestAnErrorOfTheNextConsumerReachesTheSender(t *testing.T) {
	full := errors.New("full")
	p, err := NewFactory().CreateMetrics(context.Background(), processortest.NewNopSettings(metadata.Type), createDefaultConfig(), consumertest.NewErr(full))
	require.NoError(t, err)
	require.NoError(t, p.Start(context.Background(), host{}))
	src := newTicks()
	src.next()
	assert.ErrorIs(t, p.ConsumeMetrics(context.Background(), src.metrics()), full)
	require.NoError(t, p.Shutdown(context.Background()))
}

func TestShutdownWithoutStart(t *testing.T) {
	p := create(t, NewFactory(), createDefaultConfig().(*Config), new(consumertest.MetricsSink))
	require.NoError(t, p.Shutdown(context.Background()))
	require.NoError(t, p.Shutdown(context.Background()))
}

func TestConcurrentUse(t *testing.T) {
	m, sink := &meeting{}, new(consumertest.MetricsSink)
	p := create(t, NewFactory(), createDefaultConfig().(*Config), sink)
	require.NoError(t, p.Start(context.Background(), host{reflexID: m}))
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			src := newTicks()
			for range 50 {
				src.next()
				if i == 0 {
					m.Observe(&src.sample, new(arc.Judgement))
				}
				assert.NoError(t, p.ConsumeMetrics(context.Background(), src.metrics()))
				assert.NoError(t, p.ConsumeMetrics(context.Background(), hostScrape(src.rng, int64(i), "x", 0)))
			}
		})
	}
	wg.Wait()
	require.NoError(t, p.Shutdown(context.Background()))
	assert.Len(t, sink.AllMetrics(), 400)
}
