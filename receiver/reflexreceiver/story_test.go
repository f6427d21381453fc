// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

func byName(all []ptrace.Traces, name string) []ptrace.Span {
	var out []ptrace.Span
	for _, span := range spans(all) {
		if span.Name() == name {
			out = append(out, span)
		}
	}
	return out
}

// points returns the points of a gauge or sum.
func points(t *testing.T, metrics pmetric.Metrics, name string) pmetric.NumberDataPointSlice {
	t.Helper()
	for _, m := range metrics.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		switch {
		case m.Name() != name:
		case m.Type() == pmetric.MetricTypeGauge:
			return m.Gauge().DataPoints()
		default:
			return m.Sum().DataPoints()
		}
	}
	require.Fail(t, "no such metric", name)
	return pmetric.NumberDataPointSlice{}
}

// value returns the one point of a metric.
func value(t *testing.T, metrics pmetric.Metrics, name string) int64 {
	t.Helper()
	return points(t, metrics, name).At(0).IntValue()
}

func TestHowThingsStandIsAmongTheMetrics(t *testing.T) {
	_, metrics, _ := told(t, story())
	all := metrics.AllMetrics()[0]
	by := func(metric, attribute string) map[string]int64 {
		out := map[string]int64{}
		for _, p := range points(t, all, metric).All() {
			v, ok := p.Attributes().Get(attribute)
			require.True(t, ok)
			out[v.AsString()] = p.IntValue()
		}
		return out
	}
	assert.Equal(t, map[string]int64{"memory.high": 1, "cpu.weight": 2}, by("reflex.leases", "reflex.action"))
	assert.Equal(t, map[string]int64{"false": 1, "true": 2}, by("reflex.leases", "reflex.action.observe"))
	assert.Equal(t, map[string]int64{
		"journal_full": 0, "file_full": 1, "file_late": 2, "file_damaged": 3, "mailbox_full": 4, "missed": 0, "refused": 0,
	}, by("reflex.dropped", "reflex.drop.reason"))
}

func TestABacklogIsCountedUntilItIsAccepted(t *testing.T) {
	journal := episode.NewJournal(1024)
	appendAll(journal, story())
	var open atomic.Bool
	r := newTestReceiver(t)
	r.config.MetricsInterval = minMetricsInterval
	sink := &consumertest.MetricsSink{}
	r.metrics, r.traces = sink, consumertest.NewNop()
	r.logs = consumeLogs(t, func(context.Context, plog.Logs) error {
		if open.Load() {
			return nil
		}
		return errors.New("queue is full")
	})
	start(t, r, journal)
	backlog := func() map[string]int64 {
		out := map[string]int64{}
		if all := sink.AllMetrics(); len(all) > 0 {
			for _, p := range points(t, all[len(all)-1], "reflex.journal.backlog").All() {
				signal, _ := p.Attributes().Get("reflex.signal")
				out[signal.Str()] = p.IntValue()
			}
		}
		return out
	}
	eventually(t, func() bool { b := backlog(); return b["logs"] == int64(len(story())) && b["traces"] == 0 }, "what the logs lack")
	open.Store(true)
	eventually(t, func() bool { b := backlog(); return len(b) == 2 && b["logs"] == 0 }, "nothing any more")
}

func TestAnEpisodeIsLinkedToTheOneBeforeOfTheSameCulprit(t *testing.T) {
	at := func(n byte, culprit string) []episode.Record {
		records := story()
		for i := range records {
			records[i].Episode[8] = n
			if records[i].Cgroup.Path != "" {
				records[i].Cgroup.Path = culprit
			}
		}
		return records
	}
	all := slices.Concat(at(1, "/a.service"), at(2, "/b.service"), at(3, "/a.service"))
	journal := episode.NewJournal(1024)
	appendAll(journal, all)
	links := func(from uint64) map[byte][]ptrace.SpanLink {
		sink := &consumertest.TracesSink{}
		r := newTestReceiver(t)
		r.traces = sink
		journal.Mark(r.settings.ID.String()+"/traces", from)
		require.NoError(t, r.Start(context.Background(), hostOf(journal)))
		require.NoError(t, r.Shutdown(context.Background()))
		out := map[byte][]ptrace.SpanLink{}
		for _, root := range byName(sink.AllTraces(), "reflex.episode") {
			for _, l := range root.Links().All() {
				out[root.TraceID()[8]] = append(out[root.TraceID()[8]], l)
			}
		}
		return out
	}
	for name, told := range map[string]int{"from the beginning": 0, "by a collector that is started again": 2 * len(story())} {
		got := links(uint64(told))
		require.Len(t, got, 1, name)
		require.Len(t, got[3], 1, name)
		l := got[3][0]
		assert.Equal(t, byte(1), l.TraceID()[8], name)
		assert.Equal(t, spanID(all[0].Episode, rootSpan, 0), l.SpanID(), name)
		culprit, _ := l.Attributes().Get(attrCgroupPath)
		assert.Equal(t, "/a.service", culprit.Str(), name)
	}
}

func TestTheLastEpisodesOfCulpritsAreBounded(t *testing.T) {
	var l lastOf
	for i := range 3 * maxCulprits {
		l.see(strconv.Itoa(i), episode.ID{1})
	}
	assert.Len(t, l.episodes, maxCulprits)
	assert.Len(t, l.order, maxCulprits)
	assert.Equal(t, episode.ID{1}, l.see(strconv.Itoa(3*maxCulprits-1), episode.ID{2}), "the newest are kept")
}

func TestEveryEventJoinsASpanOfItsTrace(t *testing.T) {
	logs, _, traces := told(t, story())
	known := spans(traces.AllTraces())
	for _, record := range logs.AllLogs()[0].ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().All() {
		assert.Equal(t, pcommon.TraceID(theEpisode), record.TraceID())
		assert.Contains(t, known, record.SpanID().String(), record.EventName())
		assert.Equal(t, pcommon.ValueTypeEmpty, record.Body().Type(), "an event's body stays empty")
	}
}

func TestSpansCoverWhatTheyAreAbout(t *testing.T) {
	_, _, traces := told(t, story())
	root := byName(traces.AllTraces(), "reflex.episode")
	require.Len(t, root, 1)
	assert.True(t, root[0].ParentSpanID().IsEmpty())
	assert.Equal(t, at(0), root[0].StartTimestamp().AsTime())
	assert.Equal(t, at(70*time.Second), root[0].EndTimestamp().AsTime())
	highest, _ := root[0].Attributes().Get(attrLevelHighest)
	assert.Equal(t, int64(2), highest.Int())
	_, open := root[0].Attributes().Get(attrEpisodeOpen)
	assert.False(t, open)

	contained := byName(traces.AllTraces(), "reflex.level.containment")
	require.Len(t, contained, 1)
	assert.Equal(t, root[0].SpanID(), contained[0].ParentSpanID())
	assert.Equal(t, at(100*time.Millisecond), contained[0].StartTimestamp().AsTime())
	assert.Equal(t, at(40*time.Second), contained[0].EndTimestamp().AsTime())

	failed := 0
	for _, span := range byName(traces.AllTraces(), "reflex.action.memory.high") {
		assert.Equal(t, root[0].SpanID(), span.ParentSpanID())
		v, _ := span.Attributes().Get(attrVerdict)
		switch v.Str() {
		case "granted":
			assert.Equal(t, at(100*time.Millisecond), span.StartTimestamp().AsTime(), "the tick")
			assert.Equal(t, at(100400*time.Microsecond), span.EndTimestamp().AsTime(), "the return of the write")
		case "failed":
			failed++
			assert.Equal(t, ptrace.StatusCodeError, span.Status().Code())
			assert.Equal(t, "write memory.high: device or resource busy", span.Status().Message())
			continue
		}
		assert.Equal(t, ptrace.StatusCodeUnset, span.Status().Code(), v.Str())
	}
	assert.Equal(t, 1, failed)
}

func TestAnEpisodeStillOpenAtShutdownIsToldSo(t *testing.T) {
	_, _, traces := told(t, story()[:4])
	root := byName(traces.AllTraces(), "reflex.episode")
	require.Len(t, root, 1)
	open, ok := root[0].Attributes().Get(attrEpisodeOpen)
	assert.True(t, ok && open.Bool())
	assert.Equal(t, at(80*time.Second), root[0].EndTimestamp().AsTime(), "until now")
	contained := byName(traces.AllTraces(), "reflex.level.containment")
	require.Len(t, contained, 1)
	open, ok = contained[0].Attributes().Get(attrEpisodeOpen)
	assert.True(t, ok && open.Bool())
}

func TestAnOpeningAndALevelChangeOfOneMomentAreOnePeriod(t *testing.T) {
	records := story()
	change := records[0]
	change.Kind = episode.LevelChanged
	_, _, traces := told(t, append([]episode.Record{records[0], change}, records[1:]...))
	assert.Len(t, byName(traces.AllTraces(), "reflex.level.watchfulness"), 2, "before and after containment")
}

func TestAnEpisodeWhoseBeginningWasMissedIsToldSo(t *testing.T) {
	_, _, traces := told(t, story()[1:])
	root := byName(traces.AllTraces(), "reflex.episode")
	require.Len(t, root, 1)
	cut, ok := root[0].Attributes().Get(attrEpisodeCut)
	assert.True(t, ok && cut.Bool())
	assert.Equal(t, at(100*time.Millisecond), root[0].StartTimestamp().AsTime())
}

func TestAnOperatorAfterTheEndOpensNoEpisode(t *testing.T) {
	late := story()[0]
	late.Kind = episode.Operator
	teller := &traceTeller{now: func() time.Time { return began }, boot: bootTime}
	teller.take(append(story(), late))
	assert.Empty(t, teller.open)
}

func TestAnActionAfterTheEndOpensNoEpisode(t *testing.T) {
	records := story()
	_, _, traces := told(t, append(records, records[6]))
	require.Len(t, traces.AllTraces(), 1)
	roots := 0
	for _, span := range traces.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().All() {
		if span.ParentSpanID().IsEmpty() {
			roots++
		}
	}
	assert.Equal(t, 1, roots)
}

func TestEpisodesWhoseEndsWereMissedDoNotPileUp(t *testing.T) {
	var records []episode.Record
	for i := range 3 * maxOpenEpisodes {
		r := story()[0]
		r.Episode[8] = byte(i)
		records = append(records, r)
	}
	teller := &traceTeller{now: func() time.Time { return began }, boot: bootTime}
	teller.take(records)
	assert.Len(t, teller.open, maxOpenEpisodes)
	teller.finish()
	roots := 0
	for _, s := range teller.finished {
		if s.kind == rootSpan {
			roots++
			assert.True(t, s.open)
			assert.False(t, s.end.Before(s.start))
		}
	}
	assert.Equal(t, len(records), roots, "every one is told")
}

func TestSpansSentAgainAreTheSameSpans(t *testing.T) {
	journal := episode.NewJournal(64)
	appendAll(journal, story())
	sink := &consumertest.TracesSink{}
	r := newTestReceiver(t)
	r.traces = consumeTraces(t, func(ctx context.Context, data ptrace.Traces) error {
		_ = sink.ConsumeTraces(ctx, data) // it arrived, but the answer is lost
		if len(sink.AllTraces()) < 3 {
			return errors.New("deadline exceeded")
		}
		return nil
	})
	start(t, r, journal)
	eventually(t, func() bool { return len(sink.AllTraces()) == 3 }, "three times")
	assert.Len(t, spans(sink.AllTraces()), 9)
}

func TestSeverityFollowsWhatHappened(t *testing.T) {
	act := func(v arc.Verdict) episode.Record {
		return episode.Record{Kind: episode.Action, Order: &arc.Order{}, Outcome: &arc.Outcome{Verdict: v}}
	}
	ending := act(arc.VerdictHeld)
	ending.Outcome.Cause = "headroom is spent"
	for _, c := range []struct {
		record   episode.Record
		name     string
		severity plog.SeverityNumber
	}{
		{episode.Record{Kind: episode.Opened, Level: 1}, "reflex.episode.opened", plog.SeverityNumberInfo},
		{episode.Record{Kind: episode.LevelChanged, Level: 2, Previous: 1}, "reflex.level.changed", plog.SeverityNumberWarn},
		{episode.Record{Kind: episode.LevelChanged, Level: 1, Previous: 2}, "reflex.level.changed", plog.SeverityNumberInfo},
		{episode.Record{Kind: episode.Closed}, "reflex.episode.closed", plog.SeverityNumberInfo},
		{episode.Record{Kind: episode.Operator}, "reflex.operator", plog.SeverityNumberInfo},
		{act(arc.VerdictGranted), "reflex.action.applied", plog.SeverityNumberInfo},
		{act(arc.VerdictHeld), "reflex.action.applied", plog.SeverityNumberDebug},
		{ending, "reflex.action.applied", plog.SeverityNumberWarn},
		{act(arc.VerdictObserved), "reflex.action.planned", plog.SeverityNumberInfo},
		{act(arc.VerdictReleased), "reflex.action.released", plog.SeverityNumberInfo},
		{act(arc.VerdictRefused), "reflex.action.refused", plog.SeverityNumberWarn},
		{act(arc.VerdictLost), "reflex.action.lost", plog.SeverityNumberWarn},
		{act(arc.VerdictFailed), "reflex.action.failed", plog.SeverityNumberError},
		{episode.Record{Kind: episode.Action}, "reflex.action.failed", plog.SeverityNumberError},
	} {
		log := plog.NewLogRecord()
		putEvent(log, &c.record, time.Time{})
		assert.Equal(t, c.name, log.EventName())
		assert.Equal(t, c.severity, log.SeverityNumber(), c.name)
	}
}

func TestWhatIsNotANumberOrALimitIsLeftOut(t *testing.T) {
	r := story()[1]
	r.Judgement.Velocity = math.NaN()
	r.Harm.Growth = math.Inf(1)
	r.Harm.Limit = arc.Unlimited
	m := pcommon.NewMap()
	putRecord(m, &r)
	for _, key := range []string{attrVelocity, attrHarmGrowth, attrHarmLimit} {
		_, ok := m.Get(key)
		assert.False(t, ok, key)
	}
	_, ok := m.Get(attrHarmAvailable)
	assert.True(t, ok)
}

func TestTheHistogramFollowsItsBounds(t *testing.T) {
	h := histogram{buckets: make([]uint64, len(tickToKnobBounds)+1)}
	for _, v := range []float64{0.00005, 0.0001, 0.00011, 10, 11} {
		h.add(v)
	}
	assert.Equal(t, uint64(2), h.buckets[0], "a bound belongs to the bucket below it")
	assert.Equal(t, uint64(1), h.buckets[1])
	assert.Equal(t, uint64(1), h.buckets[len(tickToKnobBounds)-1])
	assert.Equal(t, uint64(1), h.buckets[len(tickToKnobBounds)])
	assert.InDelta(t, 0.00005, h.min, 0)
	assert.InDelta(t, 11, h.max, 0)
}

func TestMetricsAreOfThePeriodSinceTheStart(t *testing.T) {
	_, metrics, _ := told(t, story())
	m := newMeter(metadata.NewDefaultMetricsBuilderConfig(), receivertest.NewNopSettings(metadata.Type), began)
	m.take(story())
	all := m.build(at(time.Minute))
	assert.Equal(t, at(time.Minute), points(t, all, "reflex.level").At(0).Timestamp().AsTime())
	for _, point := range points(t, all, "reflex.actions").All() {
		assert.Equal(t, began, point.StartTimestamp().AsTime())
		assert.Equal(t, at(time.Minute), point.Timestamp().AsTime())
	}
	assert.Len(t, metrics.AllMetrics(), 1, "one report at the end")
}

func TestAnActionLiesBetweenItsTickAndItsWrite(t *testing.T) {
	boot := began.Add(-time.Duration(tick))
	written := episode.Record{Kind: episode.Action, Time: at(time.Second), Scheduled: tick + 1e8, Written: tick + 3e8}
	unwritten := written
	unwritten.Written = 0
	change := written
	change.Kind = episode.LevelChanged
	change.Written = 0
	for name, c := range map[string]struct {
		record     episode.Record
		boot       time.Time
		begin, end time.Duration
	}{
		"written":         {written, boot, 100 * time.Millisecond, 300 * time.Millisecond},
		"nothing written": {unwritten, boot, 100 * time.Millisecond, 100 * time.Millisecond},
		"clock unknown":   {written, time.Time{}, 800 * time.Millisecond, time.Second},
		"no action":       {change, boot, time.Second, time.Second},
	} {
		begin, end := interval(&c.record, c.boot)
		assert.Equal(t, at(c.begin), begin, name)
		assert.Equal(t, at(c.end), end, name)
	}
}
