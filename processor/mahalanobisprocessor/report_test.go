// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

// reported are the gauges of the processor about itself, those of streams after
// "streams.".
func (r *remembered) reported() map[string]float64 {
	r.t.Helper()
	found := map[string]float64{}
	prefix := func(a attribute.Set) string {
		if v, ok := a.Value("reflex.baselines"); ok && v.AsString() == "streams" {
			return "streams."
		}
		return ""
	}
	for _, name := range []string{"autocorrelation", "disagreement", "effective_decisions", "extrapolated", "history", "kurtosis", "season"} {
		m, err := r.tel.GetMetric("otelcol_processor_mahalanobis_" + name)
		if err != nil {
			continue
		}
		switch g := m.Data.(type) {
		case metricdata.Gauge[float64]:
			for _, p := range g.DataPoints {
				found[prefix(p.Attributes)+name] = p.Value
			}
		case metricdata.Gauge[int64]:
			for _, p := range g.DataPoints {
				found[prefix(p.Attributes)+name] = float64(p.Value)
			}
		}
	}
	return found
}

func TestTheArcReportsAboutItself(t *testing.T) {
	meets := &meeting{}
	r := remember(t, host{reflexID: meets}, func(c *Config) { c.Preset, c.Dimensions, c.Storage = reading.Node, nil, nil })
	r.shared.report(context.Background())
	assert.Empty(t, r.reported(), "nothing is learned yet")
	src := newTicks()
	for range 3000 {
		meets.Observe(src.next(), new(arc.Judgement))
	}
	r.shared.report(context.Background())
	got := r.reported()
	assert.InDelta(t, 300, got["history"], 60)
	assert.Equal(t, 1.0, got["extrapolated"])
	assert.Greater(t, got["effective_decisions"], 500.0)
	assert.Contains(t, got, "autocorrelation")
	assert.InDelta(t, 1, got["kurtosis"], 0.9)
	assert.Contains(t, got, "disagreement")
	assert.Zero(t, got["season"])
	assert.NotContains(t, got, "streams.history")

	r.shared.registration.troubled = true
	before := got["history"]
	for range 3000 {
		src.next()
	}
	r.shared.report(context.Background())
	assert.Equal(t, before, r.reported()["history"], "in trouble the arc meets with no lock")
	require.NoError(t, r.shutdown(context.Background()))
}

func TestStreamsReportTheLeastFounded(t *testing.T) {
	r := remember(t, host{storageID: newMemory()}, nil)
	say := []detect.Report{
		{Decisions: 9, History: 3 * time.Second, Effective: 8, Kurtosis: 1, Autocorrelation: -0.5},
		{Decisions: 9, History: 2 * time.Second, Effective: 9, Kurtosis: 3, Autocorrelation: -0.25, Extrapolated: true, Season: 24 * time.Hour},
		{},
	}
	r.streams.judge = func(detect.Config) judge {
		k := &reader{says: say[0]}
		say = say[1:]
		return k
	}
	r.see("a", "b", "c")
	r.shared.report(context.Background())
	assert.Equal(t, map[string]float64{
		"streams.history": 2, "streams.effective_decisions": 8, "streams.kurtosis": 3, "streams.autocorrelation": -0.25,
		"streams.extrapolated": 1, "streams.season": 86400,
	}, r.reported())
	require.NoError(t, r.shutdown(context.Background()))
}

func TestNoMoreThanAFewStreamsAreAudited(t *testing.T) {
	r := remember(t, host{}, func(c *Config) { c.Storage = nil })
	asked := 0
	r.streams.judge = func(detect.Config) judge { return &reader{audit: func(*detect.Audit) bool { asked++; return false }} }
	r.see("a", "b", "c", "d", "e", "f")
	r.shared.report(context.Background())
	assert.Equal(t, 6, asked, "those that have nothing to audit cost nothing")
	require.NoError(t, r.shutdown(context.Background()))

	r = remember(t, host{}, func(c *Config) { c.Preset, c.Dimensions, c.Storage = reading.Node, nil, nil })
	r.streams.judge = newJudge
	src := newTicks()
	for range 600 {
		src.next()
		md := src.metrics()
		rm := md.ResourceMetrics().At(0)
		for i := range 6 {
			again := md.ResourceMetrics().AppendEmpty()
			rm.CopyTo(again)
			again.Resource().Attributes().PutInt("n", int64(i))
		}
		_, err := r.process(context.Background(), md)
		require.NoError(t, err)
	}
	audited := 0
	for _, st := range r.streams.byResource {
		st.judge = &counting{st.judge, &audited}
	}
	r.shared.report(context.Background())
	assert.Equal(t, audits, audited)
	assert.Contains(t, r.reported(), "streams.disagreement")
	require.NoError(t, r.shutdown(context.Background()))
}

type counting struct {
	judge
	audited *int
}

func (c *counting) TakeAudit(a *detect.Audit) bool {
	*c.audited++
	return c.judge.TakeAudit(a)
}

func TestADoubtfulBaselineIsWarnedOfOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	told := false
	for _, d := range []float64{0.9, 1.5, 2} {
		var f foundation
		f.audit(d)
		f.doubt(zap.New(core), "arc", &told)
	}
	all := logs.All()
	require.Len(t, all, 1)
	assert.Equal(t, map[string]any{"baselines": "arc", "factor": math.Exp(1.5)}, all[0].ContextMap())
}

// With the race detector: reports run beside the arc and the pipeline.
func TestReportsRunBesideTheArcAndThePipeline(t *testing.T) {
	meets := &meeting{}
	r := remember(t, host{reflexID: meets, storageID: newMemory()}, func(c *Config) { c.Preset, c.Dimensions = reading.Node, nil })
	r.streams.judge = newJudge
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			r.shared.report(ctx)
			r.shared.save(ctx, false)
		}
	}()
	src := newTicks()
	for range 600 {
		meets.Observe(src.next(), new(arc.Judgement))
		md := src.metrics()
		elsewhere := src.metrics()
		elsewhere.ResourceMetrics().At(0).Resource().Attributes().PutStr("host", "other")
		elsewhere.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().Attributes().Clear()
		elsewhere.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		_, err := r.process(context.Background(), md)
		require.NoError(t, err)
	}
	cancel()
	<-done
	require.NoError(t, r.shutdown(context.Background()))
}
