// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadatatest"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
)

// meeting is a reflex extension that only lets source and engine meet.
type meeting struct {
	component.StartFunc
	component.ShutdownFunc
	engines map[string]arc.Engine
	control arc.Control
}

var _ arc.Meeting = (*meeting)(nil)

func (m *meeting) Register(source, _ string, e arc.Engine) (func(), error) {
	if m.engines == nil {
		m.engines = map[string]arc.Engine{}
	}
	if m.engines[source] != nil {
		return nil, errors.New("source has a judge")
	}
	m.engines[source] = e
	return func() { delete(m.engines, source) }, nil
}

func (m *meeting) Observe(s *arc.Sample, j *arc.Judgement) {
	*j = arc.Judgement{}
	if e := m.engines[s.Source]; e != nil {
		e.Judge(s, m.control, j)
	}
}

func (m *meeting) Control() arc.Control { return m.control }

type bystander struct {
	component.StartFunc
	component.ShutdownFunc
}

type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

var (
	reflexID = component.MustNewID("reflex")
	otherID  = component.MustNewIDWithName("reflex", "other")
)

func create(t *testing.T, f processor.Factory, cfg *Config, next *consumertest.MetricsSink) processor.Metrics {
	t.Helper()
	p, err := f.CreateMetrics(context.Background(), processortest.NewNopSettings(metadata.Type), cfg, next)
	require.NoError(t, err)
	return p
}

func TestStartFindsTheMeeting(t *testing.T) {
	named := func(id component.ID) *component.ID { return &id }
	for _, tt := range []struct {
		name       string
		reflex     *component.ID
		extensions host
		registered bool
		fails      string
	}{
		{"none: standalone", nil, host{component.MustNewID("other"): &bystander{}}, false, ""},
		{"one", nil, host{reflexID: &meeting{}, component.MustNewID("other"): &bystander{}}, true, ""},
		{"several", nil, host{reflexID: &meeting{}, otherID: &meeting{}}, false, "reflex: several"},
		{"named", named(reflexID), host{reflexID: &meeting{}, otherID: &meeting{}}, true, ""},
		{"named but absent", named(otherID), host{reflexID: &meeting{}}, false, "reflex: no extension \"reflex/other\""},
		{"named but something else", named(reflexID), host{reflexID: &bystander{}}, false, "reflex: extension \"reflex\" is not"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			cfg.Reflex = tt.reflex
			p := create(t, NewFactory(), cfg, new(consumertest.MetricsSink))
			err := p.Start(context.Background(), tt.extensions)
			if tt.fails != "" {
				require.ErrorContains(t, err, tt.fails)
			} else {
				require.NoError(t, err)
			}
			if m, ok := tt.extensions[reflexID].(*meeting); ok {
				assert.Equal(t, tt.registered, m.engines["ebpf"] != nil)
				require.NoError(t, p.Shutdown(context.Background()))
				assert.Empty(t, m.engines, "released")
			}
			require.NoError(t, p.Shutdown(context.Background()), "twice")
		})
	}
}

func TestASourceThatHasAJudgeIsAnErrorAtStart(t *testing.T) {
	m := &meeting{}
	h := host{reflexID: m}
	f := NewFactory()
	first := create(t, f, createDefaultConfig().(*Config), new(consumertest.MetricsSink))
	second := create(t, f, createDefaultConfig().(*Config), new(consumertest.MetricsSink))
	require.NoError(t, first.Start(context.Background(), h))
	require.ErrorContains(t, second.Start(context.Background(), h), `judge of source "ebpf": source has a judge`)
	require.NoError(t, second.Shutdown(context.Background()))
	assert.NotNil(t, m.engines["ebpf"], "the failed one releases nothing of the first")
	require.NoError(t, first.Shutdown(context.Background()))
}

func TestOneConfigurationInTwoPipelinesIsOneJudge(t *testing.T) {
	m := &meeting{}
	h := host{reflexID: m}
	f, cfg := NewFactory(), createDefaultConfig().(*Config)
	sinks := [2]consumertest.MetricsSink{}
	a, b := create(t, f, cfg, &sinks[0]), create(t, f, cfg, &sinks[1])
	require.NoError(t, a.Start(context.Background(), h))
	require.NoError(t, b.Start(context.Background(), h))

	src := newTicks()
	for range 310 {
		s := src.next()
		m.Observe(s, new(arc.Judgement))
	}
	for _, p := range []processor.Metrics{a, b} {
		require.NoError(t, p.ConsumeMetrics(context.Background(), src.metrics()))
	}
	assert.Contains(t, scoresOf(sinks[0].AllMetrics()[0]), "reflex.score.distance")
	assert.Contains(t, scoresOf(sinks[1].AllMetrics()[0]), "reflex.score.distance")

	require.NoError(t, a.Shutdown(context.Background()))
	assert.NotNil(t, m.engines["ebpf"], "the other pipeline still runs")
	require.NoError(t, b.Shutdown(context.Background()))
	assert.Empty(t, m.engines)
}

func TestATickIsAnnotatedWithTheJudgementMadeOnTheArc(t *testing.T) {
	tel := componenttest.NewTelemetry()
	defer func() { require.NoError(t, tel.Shutdown(context.Background())) }()
	m, sink := &meeting{}, new(consumertest.MetricsSink)
	p, err := NewFactory().CreateMetrics(context.Background(), metadatatest.NewSettings(tel), createDefaultConfig(), sink)
	require.NoError(t, err)
	require.NoError(t, p.Start(context.Background(), host{reflexID: m}))
	defer func() { require.NoError(t, p.Shutdown(context.Background())) }()

	src := newTicks()
	var j arc.Judgement
	send := func() pmetric.Metrics {
		md := src.metrics()
		require.NoError(t, p.ConsumeMetrics(context.Background(), md))
		all := sink.AllMetrics()
		return all[len(all)-1]
	}
	m.Observe(src.next(), &j)
	assert.Empty(t, scoresOf(send()), "not ready: no score")
	for range 400 {
		m.Observe(src.next(), &j)
	}
	require.True(t, j.Ready)
	got := send()
	assert.Equal(t, j.Distance, scoresOf(got)["reflex.score.distance"])
	assert.Equal(t, j.Limit, scoresOf(got)["reflex.score.limit"])
	assert.Equal(t, j.Velocity, scoresOf(got)["reflex.score.velocity"])
	assert.Equal(t, j.Acceleration, scoresOf(got)["reflex.score.acceleration"])
	assert.Equal(t, 0.0, scoresOf(got)["reflex.score.anomalous"])
	assert.Equal(t, j.Contributions[0].Share, scoresOf(got)["reflex.score.contribution{"+j.Contributions[0].Dimension+"}"])
	scope := got.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().Attributes().AsRaw()
	assert.Equal(t, map[string]any{"reflex.source": "ebpf"}, scope, "the sequence number is taken off")
	assert.Equal(t, 1, got.ResourceMetrics().At(1).ScopeMetrics().Len(), "a cgroup passes unjudged")

	src.leak = 400e6
	late := src.metrics()
	for range kept {
		m.Observe(src.next(), &j)
	}
	require.True(t, j.Anomalous)
	assert.Equal(t, 1.0, scoresOf(send())["reflex.score.anomalous"])

	require.NoError(t, p.ConsumeMetrics(context.Background(), late))
	all := sink.AllMetrics()
	assert.Empty(t, scoresOf(all[len(all)-1]), "no longer kept: passed without a score")

	one := func(n int64) []metricdata.DataPoint[int64] { return []metricdata.DataPoint[int64]{{Value: n}} }
	metadatatest.AssertEqualProcessorMahalanobisJudgements(t, tel, one(2), metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualProcessorMahalanobisAnomalies(t, tel, one(1), metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualProcessorMahalanobisAnnotationsMissed(t, tel, one(1), metricdatatest.IgnoreTimestamp())
}

func TestOnlyTheNodePresetRegisters(t *testing.T) {
	m := &meeting{}
	p := create(t, NewFactory(), load(t, "mahalanobis/host"), new(consumertest.MetricsSink))
	require.NoError(t, p.Start(context.Background(), host{reflexID: m}))
	assert.Empty(t, m.engines)
	require.NoError(t, p.Shutdown(context.Background()))
}
