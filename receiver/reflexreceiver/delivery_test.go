// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadatatest"
)

// recordIDs returns the stable ids of the events in what was delivered.
func recordIDs(all []plog.Logs) []string {
	var out []string
	for _, logs := range all {
		records := logs.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords()
		for _, record := range records.All() {
			id, _ := record.Attributes().Get(attrRecordID)
			out = append(out, id.Str())
		}
	}
	return out
}

// spans returns the spans delivered, by id; a span sent twice is there once.
func spans(all []ptrace.Traces) map[string]ptrace.Span {
	out := map[string]ptrace.Span{}
	for _, traces := range all {
		for _, span := range traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
			out[span.SpanID().String()] = span
		}
	}
	return out
}

func consumeLogs(t *testing.T, f consumer.ConsumeLogsFunc) consumer.Logs {
	t.Helper()
	c, err := consumer.NewLogs(f)
	require.NoError(t, err)
	return c
}

func consumeTraces(t *testing.T, f consumer.ConsumeTracesFunc) consumer.Traces {
	t.Helper()
	c, err := consumer.NewTraces(f)
	require.NoError(t, err)
	return c
}

func TestAFailingConsumerGetsEveryRecordAgainUntilItAccepts(t *testing.T) {
	var (
		logs   = &consumertest.LogsSink{}
		traces = &consumertest.TracesSink{}
		calls  atomic.Int32
		tried  atomic.Int32
	)
	r := newTestReceiver(t)
	r.logs = consumeLogs(t, func(ctx context.Context, data plog.Logs) error {
		if calls.Add(1) <= 5 {
			data.ResourceLogs().RemoveIf(func(plog.ResourceLogs) bool { return true }) // it may change what it was given
			return errors.New("queue is full")
		}
		return logs.ConsumeLogs(ctx, data)
	})
	r.traces = consumeTraces(t, func(ctx context.Context, data ptrace.Traces) error {
		if tried.Add(1) <= 5 {
			return errors.New("queue is full")
		}
		return traces.ConsumeTraces(ctx, data)
	})
	journal := episode.NewJournal(1024)
	appendAll(journal, story())
	start(t, r, journal)
	want := len(story())
	eventually(t, func() bool { return logs.LogRecordCount() == want }, "every event")
	eventually(t, func() bool { return traces.SpanCount() == 9 }, "every span")
	ids := recordIDs(logs.AllLogs())
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(ids))), want, "accepted once each")

	appendAll(journal, story()) // delivery goes on from there
	eventually(t, func() bool { return logs.LogRecordCount() == 2*want }, "the second episode")
}

// restarted is what a journal of another collector is after it was kept in a file.
func restarted(j *episode.Journal) *episode.Journal {
	again := episode.NewJournal(1024)
	again.Restore(j.Read(0, nil), j.Stats().Newest, j.Marks())
	return again
}

func TestACollectorThatIsStartedAgainGoesOnWhereItWas(t *testing.T) {
	full := story()
	first := episode.NewJournal(1024)
	appendAll(first, full[:4]) // the episode is open when the collector ends
	var before, after consumertest.LogsSink
	var spans, later consumertest.TracesSink
	r := newTestReceiver(t)
	r.logs, r.traces = &before, &spans
	start(t, r, first)
	eventually(t, func() bool { return before.LogRecordCount() == 4 }, "what there is")
	require.NoError(t, r.Shutdown(context.Background()))

	second := restarted(first)
	appendAll(second, full[4:])
	again := newTestReceiver(t)
	again.settings.ID = r.settings.ID
	again.logs, again.traces = &after, &later
	metrics := &consumertest.MetricsSink{}
	again.metrics, again.config.MetricsInterval = metrics, minMetricsInterval
	start(t, again, second)
	eventually(t, func() bool { return after.LogRecordCount() == len(full)-4 }, "the rest")
	ids := append(recordIDs(before.AllLogs()), recordIDs(after.AllLogs())...)
	assert.Len(t, slices.Compact(slices.Sorted(slices.Values(ids))), len(full), "each once")
	whole := func() bool {
		for _, traces := range later.AllTraces() {
			for _, s := range traces.ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
				_, open := s.Attributes().Get(attrEpisodeOpen)
				_, cut := s.Attributes().Get(attrEpisodeCut)
				if s.ParentSpanID().IsEmpty() && !open && !cut {
					return true
				}
			}
		}
		return false
	}
	eventually(t, whole, "the root of the whole episode, from its opening")
	eventually(t, func() bool { return len(metrics.AllMetrics()) > 1 }, "a report")
	all := metrics.AllMetrics()
	assert.Zero(t, value(t, all[len(all)-1], "reflex.episodes"), "sums begin with the collector")
}

func TestWhatWasDisplacedInBetweenIsCountedAsWell(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	r, err := newReceiver(createDefaultConfig().(*Config), metadatatest.NewSettings(tel))
	require.NoError(t, err)
	sink := &consumertest.LogsSink{}
	r.logs = sink
	journal := episode.NewJournal(8)
	journal.Append(episode.Record{Kind: episode.Opened})
	for range 20 { // of routine, of which the journal keeps the newest
		journal.Append(episode.Record{Kind: episode.Action, Order: &arc.Order{}, Outcome: &arc.Outcome{Verdict: arc.VerdictHeld}})
	}
	start(t, r, journal)
	eventually(t, func() bool { return sink.LogRecordCount() == 8 }, "what the journal still held")
	assert.True(t, strings.HasSuffix(recordIDs(sink.AllLogs())[0], "-1"), "the opening")
	metadatatest.AssertEqualReflexReceiverRecordsMissed(t, tel, []metricdata.DataPoint[int64]{
		{Value: 13, Attributes: attribute.NewSet(attribute.String("signal", "logs"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestRecordsRefusedForGoodAreSkippedAndCounted(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	set := metadatatest.NewSettings(tel)
	cfg := createDefaultConfig().(*Config)
	cfg.RefusalPatience = 0
	r, err := newReceiver(cfg, set)
	require.NoError(t, err)
	var (
		sink  = &consumertest.LogsSink{}
		calls atomic.Int32
	)
	r.logs = consumeLogs(t, func(ctx context.Context, data plog.Logs) error {
		if calls.Add(1) == 1 {
			return consumererror.NewPermanent(errors.New("too large"))
		}
		return sink.ConsumeLogs(ctx, data)
	})
	journal := episode.NewJournal(1024)
	journal.Append(story()[0])
	start(t, r, journal)
	eventually(t, func() bool { return calls.Load() == 1 }, "the first record is refused")
	journal.Append(story()[1])
	eventually(t, func() bool { return sink.LogRecordCount() == 1 }, "the second is delivered")
	assert.Equal(t, []string{"ab000000000000000000000000000001-2"}, recordIDs(sink.AllLogs()))
	metadatatest.AssertEqualReflexReceiverRecordsRefused(t, tel, []metricdata.DataPoint[int64]{
		{Value: 1, Attributes: attribute.NewSet(attribute.String("signal", "logs"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestARefusalForGoodIsLivedWithForAWhile(t *testing.T) {
	var (
		sink  = &consumertest.LogsSink{}
		calls atomic.Int32
	)
	r := newTestReceiver(t)
	r.logs = consumeLogs(t, func(ctx context.Context, data plog.Logs) error {
		if calls.Add(1) <= 5 {
			return consumererror.NewPermanent(errors.New("401 Unauthorized"))
		}
		return sink.ConsumeLogs(ctx, data)
	})
	journal := episode.NewJournal(1024)
	appendAll(journal, story())
	start(t, r, journal)
	eventually(t, func() bool { return sink.LogRecordCount() == len(story()) }, "all of it, once it may")
}

// A long outage is none of the patience with a refusal for good that comes after it.
func TestPatienceBeginsWithTheFirstRefusalForGood(t *testing.T) {
	journal := episode.NewJournal(1024)
	appendAll(journal, story())
	sink := &consumertest.LogsSink{}
	r := newTestReceiver(t)
	var now atomic.Int64
	answers := []error{errors.New("unavailable"), consumererror.NewPermanent(errors.New("401 Unauthorized")), errors.New("unavailable"), consumererror.NewPermanent(errors.New("404")), nil}
	r.logs = consumeLogs(t, func(ctx context.Context, data plog.Logs) error {
		now.Add(int64(2 * time.Hour)) // each attempt takes longer than there is patience
		err := answers[0]
		if answers = answers[1:]; err == nil {
			return sink.ConsumeLogs(ctx, data)
		}
		return err
	})
	s := r.newStream("logs", journal, &logTeller{next: r.logs, report: r.report, boot: r.boot})
	s.now = func() time.Time { return time.Unix(0, now.Load()) }
	require.True(t, s.load(t.Context()))
	s.deliver(t.Context())
	assert.Equal(t, len(story()), sink.LogRecordCount())
	assert.Zero(t, s.denied.Load())
}

func TestWhatIsRefusedAtTheEndIsLeftToTheNext(t *testing.T) {
	r := newTestReceiver(t)
	r.logs = consumeLogs(t, func(context.Context, plog.Logs) error {
		return consumererror.NewPermanent(errors.New("401 Unauthorized"))
	})
	journal := episode.NewJournal(1024)
	appendAll(journal, story())
	require.NoError(t, r.Start(context.Background(), hostOf(journal)))
	require.NoError(t, r.Shutdown(context.Background()))
	assert.Zero(t, journal.Marked(r.settings.ID.String()+"/logs"))
}

func TestABlockedConsumerDelaysItsOwnSignalOnly(t *testing.T) {
	for _, blocked := range []string{"logs", "metrics", "traces"} {
		t.Run(blocked, func(t *testing.T) {
			var (
				stuck   atomic.Bool
				logs    consumertest.LogsSink
				metrics consumertest.MetricsSink
				traces  consumertest.TracesSink
			)
			block := func(ctx context.Context, signal string) error {
				if signal != blocked {
					return nil
				}
				stuck.Store(true)
				<-ctx.Done() // an exporter that accepts and never answers
				return ctx.Err()
			}
			r := newTestReceiver(t)
			r.config.MetricsInterval = minMetricsInterval
			r.logs = consumeLogs(t, func(ctx context.Context, data plog.Logs) error {
				return errors.Join(block(ctx, "logs"), logs.ConsumeLogs(ctx, data))
			})
			r.traces = consumeTraces(t, func(ctx context.Context, data ptrace.Traces) error {
				return errors.Join(block(ctx, "traces"), traces.ConsumeTraces(ctx, data))
			})
			next, err := consumer.NewMetrics(func(ctx context.Context, data pmetric.Metrics) error {
				return errors.Join(block(ctx, "metrics"), metrics.ConsumeMetrics(ctx, data))
			})
			require.NoError(t, err)
			r.metrics = next

			journal := episode.NewJournal(32)
			appendAll(journal, story())
			require.NoError(t, r.Start(context.Background(), hostOf(journal)))
			eventually(t, stuck.Load, "the consumer blocks")
			for range 1000 { // far more than the journal holds: the writer never waits
				journal.Append(story()[2])
			}
			if blocked != "logs" {
				eventually(t, func() bool { return logs.LogRecordCount() >= len(story()) }, "logs go on")
			}
			if blocked != "traces" {
				eventually(t, func() bool { return traces.SpanCount() >= len(story()) }, "traces go on")
			}
			if blocked != "metrics" {
				eventually(t, func() bool { return len(metrics.AllMetrics()) > 0 }, "metrics go on")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			require.NoError(t, r.Shutdown(ctx), "and Shutdown keeps to its context")
		})
	}
}

func TestRecordsTheJournalDisplacedAreCounted(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	r, err := newReceiver(createDefaultConfig().(*Config), metadatatest.NewSettings(tel))
	require.NoError(t, err)
	sink := &consumertest.LogsSink{}
	r.logs = sink
	journal := episode.NewJournal(4)
	appendAll(journal, story())
	start(t, r, journal)
	eventually(t, func() bool { return sink.LogRecordCount() == 4 }, "what the journal still held")
	metadatatest.AssertEqualReflexReceiverRecordsMissed(t, tel, []metricdata.DataPoint[int64]{
		{Value: int64(len(story()) - 4), Attributes: attribute.NewSet(attribute.String("signal", "logs"))},
	}, metricdatatest.IgnoreTimestamp())
}

func TestALongHistoryIsDeliveredInBatchesInOrder(t *testing.T) {
	sink := &consumertest.LogsSink{}
	r := newTestReceiver(t)
	r.logs, r.config.ReplayRate = sink, mostReplayRate
	journal := episode.NewJournal(1000)
	for range 1000 {
		journal.Append(story()[0])
	}
	start(t, r, journal)
	eventually(t, func() bool { return sink.LogRecordCount() == 1000 }, "all of it")
	for _, logs := range sink.AllLogs() {
		assert.LessOrEqual(t, logs.LogRecordCount(), batchSize)
	}
	ids := recordIDs(sink.AllLogs())
	assert.Equal(t, "ab000000000000000000000000000001-1", ids[0])
	assert.Equal(t, "ab000000000000000000000000000001-1000", ids[999])
}

func TestABacklogIsToldAtItsRate(t *testing.T) {
	sink := &consumertest.LogsSink{}
	r := newTestReceiver(t)
	r.logs, r.config.ReplayRate = sink, 1000
	journal := episode.NewJournal(1024)
	for range 5 * batchSize {
		journal.Append(story()[0])
	}
	began := time.Now()
	start(t, r, journal)
	eventually(t, func() bool { return sink.LogRecordCount() == 5*batchSize }, "all of it")
	assert.GreaterOrEqual(t, time.Since(began), 4*batchSize*time.Millisecond, "the first batch at once, four more at a thousand a second")
}

func TestShutdownDoesNotWaitForAConsumerThatIgnoresItsContext(t *testing.T) {
	for name, during := range map[string]int32{"while running": 1, "at the last delivery": 2} {
		t.Run(name, func(t *testing.T) {
			var calls, returned atomic.Int32
			release := make(chan struct{})
			r := newTestReceiver(t)
			r.backoff = backoff{initial: time.Hour, limit: time.Hour} // the second call is the flush
			r.logs = consumeLogs(t, func(context.Context, plog.Logs) error {
				defer returned.Add(1)
				if calls.Add(1) == during {
					<-release
				}
				return errors.New("queue is full")
			})
			journal := episode.NewJournal(16)
			journal.Append(story()[0])
			require.NoError(t, r.Start(context.Background(), hostOf(journal)))
			eventually(t, func() bool { return calls.Load() == 1 }, "a first attempt")
			if during > 1 {
				eventually(t, func() bool { return returned.Load() == 1 }, "which fails")
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- r.Shutdown(ctx) }()
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(10 * time.Second):
				t.Error("Shutdown waits for the consumer")
			}
			close(release)
			eventually(t, func() bool { return returned.Load() == during }, "the consumer returns at last")
		})
	}
}

func TestAMetricsReportIsTriedUntilItIsAccepted(t *testing.T) {
	var calls atomic.Int32
	next, err := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error {
		switch calls.Add(1) {
		case 1, 2:
			return errors.New("queue is full")
		case 4:
			return consumererror.NewPermanent(errors.New("too large"))
		default:
			return nil
		}
	})
	require.NoError(t, err)
	r := newTestReceiver(t)
	reporter := &reporter{
		meter: newMeter(r.config.MetricsBuilderConfig, r.settings, began), next: next, report: r.report, now: r.now, logger: r.settings.Logger, backoff: r.backoff,
	}
	ctx, cancel := context.WithCancel(context.Background())
	ticks, done := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(done)
		reporter.run(ctx, ticks)
	}()
	ticks <- began // fails twice, then is accepted
	ticks <- began // is refused for good
	ticks <- began
	eventually(t, func() bool { return calls.Load() == 5 }, "three reports in five attempts")
	cancel()
	<-done
	assert.Equal(t, int32(5), calls.Load())
}

func TestMetricsAreReportedAtTheirInterval(t *testing.T) {
	var calls atomic.Int32
	sink := &consumertest.MetricsSink{}
	next, err := consumer.NewMetrics(func(ctx context.Context, data pmetric.Metrics) error {
		if calls.Add(1) == 1 {
			return errors.New("queue is full")
		}
		return sink.ConsumeMetrics(ctx, data)
	})
	require.NoError(t, err)
	r := newTestReceiver(t)
	r.metrics = next
	r.config.MetricsInterval = minMetricsInterval
	journal := episode.NewJournal(1024)
	start(t, r, journal)
	eventually(t, func() bool { return len(sink.AllMetrics()) > 0 }, "a report")
	assert.Zero(t, value(t, sink.AllMetrics()[0], "reflex.level"), "a level and no episodes are known before anything happens")
	assert.Zero(t, value(t, sink.AllMetrics()[0], "reflex.episodes"))

	appendAll(journal, story()[:2])
	eventually(t, func() bool {
		all := sink.AllMetrics()
		return value(t, all[len(all)-1], "reflex.level") == 2
	}, "the level in force")
}

func TestPipelinesOfOneComponentShareItsReceiver(t *testing.T) {
	factory := NewFactory()
	cfg := factory.CreateDefaultConfig()
	set := receivertest.NewNopSettings(metadata.Type)
	logs, err := factory.CreateLogs(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	traces, err := factory.CreateTraces(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	metrics, err := factory.CreateMetrics(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	assert.Same(t, logs, traces)
	assert.Same(t, logs, metrics)

	other, err := factory.CreateLogs(context.Background(), set, factory.CreateDefaultConfig(), consumertest.NewNop())
	require.NoError(t, err)
	assert.NotSame(t, logs, other)

	host := newTestHost(t)
	for _, c := range []receiver.Logs{logs, traces, metrics} {
		require.NoError(t, c.Start(context.Background(), host))
	}
	for _, c := range []receiver.Logs{logs, traces, metrics, other} {
		require.NoError(t, c.Shutdown(context.Background()))
		require.NoError(t, c.Shutdown(context.Background()))
	}
	again, err := factory.CreateLogs(context.Background(), set, cfg, consumertest.NewNop())
	require.NoError(t, err)
	assert.NotSame(t, logs, again, "a receiver that was shut down is not used again")
	require.NoError(t, again.Shutdown(context.Background()))
	assert.Equal(t, metadata.Type, factory.Type())
}
