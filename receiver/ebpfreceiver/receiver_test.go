// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/internal/wake"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadatatest"
)

func sequenceOf(t *testing.T, md pmetric.Metrics) int64 {
	t.Helper()
	v, ok := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().Attributes().Get(attributeSequence)
	require.True(t, ok)
	return v.Int()
}

func TestTicksReachTheArcAndThePipeline(t *testing.T) {
	sink := &consumertest.MetricsSink{}
	m := &meeting{}
	k := &fakeKernel{}
	r := newFake(t, k, sink, func(cfg *Config, set *receiver.Settings) {
		cfg.FullSweepInterval = time.Hour
		set.ID = component.MustNewIDWithName("ebpf", "one")
	})
	require.NoError(t, r.Start(context.Background(), host{component.MustNewID("reflex"): m}))
	require.Eventually(t, func() bool { return m.observed.Load() > 3 && len(sink.AllMetrics()) > 3 }, deadline, time.Millisecond)
	require.NoError(t, r.Shutdown(context.Background()))

	assert.Equal(t, "ebpf/one", *m.source.Load(), "the source is the component's id")
	all := sink.AllMetrics()
	assert.Equal(t, 1+4, all[0].ResourceMetrics().Len(), "the first delivery is a full sweep")
	assert.Equal(t, 1+1, all[1].ResourceMetrics().Len(), "the next ones are the movers")
	path, _ := all[1].ResourceMetrics().At(1).Resource().Attributes().Get(attributeCgroupPath)
	assert.Equal(t, "/system.slice/payment.service", path.Str())
	for i := 1; i < len(all); i++ {
		assert.Greater(t, sequenceOf(t, all[i]), sequenceOf(t, all[i-1]))
	}
	assert.True(t, k.closed.Load())
}

func TestFullSweepsComeAtTheirInterval(t *testing.T) {
	k := &fakeKernel{}
	r := newFake(t, k, consumertest.NewNop(), nil)
	d := deliveryOf(r, k)
	d.fullSweepInterval = int64(10 * time.Second)
	var full []int
	for tick := range 250 {
		s := fakeSample(t, k, uint64(tick+1))
		s.Scheduled = int64(time.Hour) + int64(tick)*int64(100*time.Millisecond)
		s.Taken = s.Scheduled + int64(250-tick) // a little less late each time
		rows, sweep := d.choose(s)
		assert.Equal(t, len(rows) == s.Cgroups.Len(), sweep == sweepFull)
		if sweep == sweepFull {
			full = append(full, tick)
		}
	}
	assert.Equal(t, []int{0, 100, 200}, full)
}

// A consumer that never returns, not even when its context ends.
func TestABlockedConsumerDelaysNeitherTicksNorShutdown(t *testing.T) {
	forever := make(chan struct{})
	left := make(chan struct{})
	var calls atomic.Int64
	next := consume(func(context.Context, pmetric.Metrics) error {
		defer close(left)
		calls.Add(1)
		<-forever
		return nil
	})
	tel := componenttest.NewTelemetry()
	m := &meeting{}
	k := &fakeKernel{}
	r := newFake(t, k, next, func(_ *Config, set *receiver.Settings) { set.TelemetrySettings = tel.NewTelemetrySettings() })
	require.NoError(t, r.Start(context.Background(), host{component.MustNewID("reflex"): m}))
	require.Eventually(t, func() bool { return calls.Load() == 1 }, deadline, time.Millisecond)
	before := m.observed.Load()
	require.Eventually(t, func() bool { return m.observed.Load() >= before+20 }, deadline, time.Millisecond)

	replaced, err := tel.GetMetric("otelcol_receiver_ebpf_replaced_deliveries")
	require.NoError(t, err)
	assert.Positive(t, replaced.Data.(metricdata.Sum[int64]).DataPoints[0].Value)

	began := time.Now()
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Less(t, time.Since(began), 5*time.Second)
	assert.Equal(t, int64(1), calls.Load())
	assert.True(t, k.closed.Load(), "the sampler has ended, its sources are closed")
	close(forever)
	<-left
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestAConsumerThatHeedsItsContextIsReleasedByShutdown(t *testing.T) {
	blocked := make(chan struct{}, 1)
	next := consume(func(ctx context.Context, _ pmetric.Metrics) error {
		blocked <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	r := newFake(t, &fakeKernel{}, next, nil)
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	<-blocked
	began := time.Now()
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Less(t, time.Since(began), shutdownPatience)
}

func TestARefusedDeliveryIsCountedAndLoggedOnceAMinute(t *testing.T) {
	tel := componenttest.NewTelemetry()
	core, logs := observer.New(zapcore.WarnLevel)
	var calls atomic.Int64
	next := consume(func(context.Context, pmetric.Metrics) error {
		calls.Add(1)
		return errors.New("queue is full")
	})
	r := newFake(t, &fakeKernel{err: errors.New("cannot read")}, next, func(_ *Config, set *receiver.Settings) {
		set.TelemetrySettings = tel.NewTelemetrySettings()
		set.Logger = zap.New(core)
	})
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	require.Eventually(t, func() bool { return calls.Load() >= 5 }, deadline, time.Millisecond)
	require.Eventually(t, func() bool {
		refused, err := tel.GetMetric("otelcol_receiver_ebpf_refused_deliveries")
		return err == nil && refused.Data.(metricdata.Sum[int64]).DataPoints[0].Value >= 5
	}, deadline, time.Millisecond)
	errs, err := tel.GetMetric("otelcol_receiver_ebpf_read_errors")
	require.NoError(t, err)
	assert.Positive(t, errs.Data.(metricdata.Sum[int64]).DataPoints[0].Value)
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Equal(t, 1, logs.FilterMessageSnippet("refused metrics").Len())
	assert.Equal(t, 1, logs.FilterMessageSnippet("could not be read").Len())
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestWhatIsMissingIsNamedOnceWithItsRemedy(t *testing.T) {
	tel := componenttest.NewTelemetry()
	core, logs := observer.New(zapcore.WarnLevel)
	r := newFake(t, &fakeKernel{}, consumertest.NewNop(), func(_ *Config, set *receiver.Settings) {
		set.TelemetrySettings = tel.NewTelemetrySettings()
		set.Logger = zap.New(core)
	})
	r.open = (&fakeKernel{}).open(arc.Requirement{Name: "BTF", Cause: "no /sys/kernel/btf/vmlinux", Remedy: "use another kernel"})
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	metadatatest.AssertEqualReceiverEbpfMissing(t, tel, []metricdata.DataPoint[int64]{{
		Value:      1,
		Attributes: attribute.NewSet(attribute.String("receiver", "ebpf"), attribute.String("requirement", "BTF")),
	}}, metricdatatest.IgnoreTimestamp())
	require.NoError(t, r.Shutdown(context.Background()))
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, map[string]any{"requirement": "BTF", "cause": "no /sys/kernel/btf/vmlinux", "remedy": "use another kernel"},
		logs.All()[0].ContextMap())
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestSelfTelemetryOfATick(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := newFake(t, &fakeKernel{}, consumertest.NewNop(), func(_ *Config, set *receiver.Settings) {
		set.TelemetrySettings = tel.NewTelemetrySettings()
	})
	require.NoError(t, r.recorder.observe(nil))
	r.recorder.Record(&sampler.Tick{Lateness: 2e6, Duration: 3e6, Missed: 4, Cgroups: 5, Truncated: 6, Replaced: true, Early: true, Woken: wake.Causes(0).With(wake.OOMKill)})
	labels := attribute.NewSet(attribute.String("receiver", "ebpf"))
	count := func(v int64) []metricdata.DataPoint[int64] {
		return []metricdata.DataPoint[int64]{{Value: v, Attributes: labels}}
	}
	ignore := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualReceiverEbpfTicks(t, tel, count(1), ignore)
	metadatatest.AssertEqualReceiverEbpfMissedTicks(t, tel, count(4), ignore)
	metadatatest.AssertEqualReceiverEbpfEarlyWakes(t, tel, []metricdata.DataPoint[int64]{{
		Value:      1,
		Attributes: attribute.NewSet(attribute.String("receiver", "ebpf"), attribute.String("cause", "oom_kill")),
	}}, ignore)
	metadatatest.AssertEqualReceiverEbpfSweepCgroups(t, tel, count(5), ignore)
	metadatatest.AssertEqualReceiverEbpfSweepTruncatedCgroups(t, tel, count(6), ignore)
	metadatatest.AssertEqualReceiverEbpfReplacedDeliveries(t, tel, count(1), ignore)
	for name, want := range map[string]float64{"lateness": 0.002, "duration": 0.003} {
		h, err := tel.GetMetric("otelcol_receiver_ebpf_tick_" + name)
		require.NoError(t, err)
		assert.InDelta(t, want, h.Data.(metricdata.Histogram[float64]).DataPoints[0].Sum, 1e-9)
	}
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestTheArcsWishForFasterTicksIsMet(t *testing.T) {
	sink := &consumertest.MetricsSink{}
	m := &meeting{}
	m.control.Store(arc.Control{Interval: int64(10 * time.Millisecond)})
	r := newFake(t, &fakeKernel{}, sink, func(cfg *Config, _ *receiver.Settings) { cfg.Interval = time.Second })
	require.NoError(t, r.Start(context.Background(), host{component.MustNewID("reflex"): m}))
	began := time.Now()
	require.Eventually(t, func() bool { return m.observed.Load() >= 30 }, deadline, time.Millisecond)
	assert.Less(t, time.Since(began), 5*time.Second, "30 ticks at 1 s would have taken half a minute")
	require.NoError(t, r.Shutdown(context.Background()))
	assert.LessOrEqual(t, len(sink.AllMetrics()), 5, "deliveries keep their pace")
}

func TestCalmIsForTheArcAndAnEpisodeForThePipelineToo(t *testing.T) {
	sink := &consumertest.MetricsSink{}
	m := &meeting{}
	r := newFake(t, &fakeKernel{}, sink, func(cfg *Config, _ *receiver.Settings) { cfg.EmitInterval = time.Hour })
	require.NoError(t, r.Start(context.Background(), host{component.MustNewID("reflex"): m}))
	require.Eventually(t, func() bool { return m.observed.Load() >= 30 }, deadline, time.Millisecond)
	assert.LessOrEqual(t, len(sink.AllMetrics()), 2, "the first tick; another where an hour ends just now")
	m.control.Store(arc.Control{Watchful: true})
	require.Eventually(t, func() bool { return len(sink.AllMetrics()) >= 10 }, deadline, time.Millisecond)
	require.NoError(t, r.Shutdown(context.Background()))
}

func TestMissedTicksAreLoggedOnceAMinute(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	k := &fakeKernel{}
	r := newFake(t, k, consumertest.NewNop(), func(_ *Config, set *receiver.Settings) { set.Logger = zap.New(core) })
	d := deliveryOf(r, k)
	for second := range 130 {
		if second >= 5 {
			r.recorder.Record(&sampler.Tick{Missed: 2})
		}
		s := fakeSample(t, k, uint64(second+1))
		s.Taken = int64(time.Hour) + int64(second)*int64(time.Second)
		d.complainOfMissed(s)
	}
	var missed []int64
	for _, line := range logs.FilterMessageSnippet("ticks were missed").All() {
		missed = append(missed, line.ContextMap()["missed"].(int64))
	}
	assert.Equal(t, []int64{2, 120, 120}, missed, "at once, and then what came since")
}

// fakeWatch says once that a process was killed.
type fakeWatch struct{ said bool }

func (w *fakeWatch) Look(int64) (begun wake.Causes) {
	if !w.said {
		w.said, begun = true, begun.With(wake.OOMKill)
	}
	return begun
}

func TestASlowReceiverIsWoken(t *testing.T) {
	tel := componenttest.NewTelemetry()
	sink := &consumertest.MetricsSink{}
	m := &meeting{}
	k := &fakeKernel{}
	r := newFake(t, k, sink, func(cfg *Config, set *receiver.Settings) {
		cfg.Interval = 10 * time.Second
		set.TelemetrySettings = tel.NewTelemetrySettings()
	})
	r.open = func(set sources.Settings, clock sampler.Clock) *sources.Sources {
		assert.True(t, set.EarlyWake)
		s := k.open()(set, clock)
		s.Watch = &fakeWatch{}
		return s
	}
	began := time.Now()
	require.NoError(t, r.Start(context.Background(), host{component.MustNewID("reflex"): m}))
	require.Eventually(t, func() bool { return m.observed.Load() >= 10 && len(sink.AllMetrics()) > 0 }, deadline, time.Millisecond)
	assert.Less(t, time.Since(began), deadline, "ten ticks at 10 s take ten times as long")
	require.NoError(t, r.Shutdown(context.Background()))
	metadatatest.AssertEqualReceiverEbpfEarlyWakes(t, tel, []metricdata.DataPoint[int64]{{
		Value:      1,
		Attributes: attribute.NewSet(attribute.String("receiver", "ebpf"), attribute.String("cause", "oom_kill")),
	}}, metricdatatest.IgnoreTimestamp())
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestRecordingATickAllocatesNothing(t *testing.T) {
	tel := componenttest.NewTelemetry()
	r := newFake(t, &fakeKernel{}, consumertest.NewNop(), func(_ *Config, set *receiver.Settings) {
		set.TelemetrySettings = tel.NewTelemetrySettings()
	})
	tick := &sampler.Tick{Lateness: 1, Duration: 1, Missed: 1, Replaced: true, Woken: 1<<wake.NumCauses - 1}
	assert.Zero(t, testing.AllocsPerRun(100, func() { r.recorder.Record(tick) }))
	require.NoError(t, tel.Shutdown(context.Background()))
}

func TestAStartThatCannotBeMeantOpensNothing(t *testing.T) {
	absent := component.MustNewID("reflex")
	r := newFake(t, &fakeKernel{}, consumertest.NewNop(), func(cfg *Config, _ *receiver.Settings) { cfg.Reflex = &absent })
	r.open = func(sources.Settings, sampler.Clock) *sources.Sources {
		t.Error("sources were opened")
		return &sources.Sources{}
	}
	require.ErrorContains(t, r.Start(context.Background(), componenttest.NewNopHost()), "reflex: there is no extension")
	require.NoError(t, r.Shutdown(context.Background()))
}

func TestShutdownIsSafeWithoutStartAndTwice(t *testing.T) {
	r := newFake(t, &fakeKernel{}, consumertest.NewNop(), nil)
	require.NoError(t, r.Shutdown(context.Background()))
	require.NoError(t, r.Shutdown(context.Background()))

	r = newFake(t, &fakeKernel{}, consumertest.NewNop(), nil)
	require.NoError(t, r.Start(context.Background(), componenttest.NewNopHost()))
	require.ErrorIs(t, r.Start(context.Background(), componenttest.NewNopHost()), errAlreadyStarted)
	require.NoError(t, r.Shutdown(context.Background()))
	require.NoError(t, r.Shutdown(context.Background()))
}

// deliveryOf is the delivery of a receiver that is not started.
func deliveryOf(r *ebpfReceiver, k *fakeKernel) *delivery {
	return r.newDelivery(k.open()(r.cfg.sources(), r.clock), sampler.NewHandover())
}

func TestCountersStartAtBootOrWhereBPFBegan(t *testing.T) {
	k := &fakeKernel{}
	r := newFake(t, k, consumertest.NewNop(), nil)
	src := k.open()(sources.Settings{}, nil)
	before := r.clock.Now()
	starts := r.starts(src)
	assert.Zero(t, starts[arc.NodeCPUBusy])
	assert.GreaterOrEqual(t, starts[arc.NodeForks], before)
	assert.LessOrEqual(t, starts[arc.NodeForks], r.clock.Now())
}
