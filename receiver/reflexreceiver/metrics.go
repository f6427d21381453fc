// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

// metricTickToKnob is the one metric that mdatagen cannot build: a histogram.
const metricTickToKnob = "reflex.tick_to_knob"

// tickToKnobBounds are the upper bounds of the histogram's buckets, in seconds.
var tickToKnobBounds = []float64{
	0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
}

// actionKey is one series of the actions metric. Actions and verdicts are few
// and fixed, so the series are bounded.
type actionKey struct{ action, verdict string }

// meter sums up the journal since the receiver started. It is a [teller] that
// has nothing to hand over: the reporter takes a snapshot when it is time.
type meter struct {
	started time.Time
	version string
	keeper  journalKeeper                      // nil in some tests
	streams map[metadata.AttributeTold]*stream // of the other signals

	mu         sync.Mutex
	builder    *metadata.MetricsBuilder
	level      int
	episodes   uint64
	actions    map[actionKey]uint64
	tickToKnob histogram
}

func newMeter(config metadata.MetricsBuilderConfig, set receiver.Settings, started time.Time) *meter {
	return &meter{
		started: started, version: set.BuildInfo.Version, actions: map[actionKey]uint64{},
		builder:    metadata.NewMetricsBuilder(config, set, metadata.WithStartTime(pcommon.NewTimestampFromTime(started))),
		tickToKnob: histogram{buckets: make([]uint64, len(tickToKnobBounds)+1)},
	}
}

func (m *meter) take(records []episode.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range records {
		m.count(&records[i])
	}
}

func (m *meter) count(r *episode.Record) {
	switch r.Kind {
	case episode.Opened:
		m.episodes++
		m.level = r.Level
	case episode.Action: // its level is the tick's that led to it, maybe past
		m.actions[actionKey{actionName(r), verdict(r).String()}]++
		if d := r.TickToKnob(); d > 0 {
			m.tickToKnob.add(d.Seconds())
		}
	default:
		m.level = r.Level
	}
}

func (*meter) tell(context.Context) error { return nil }
func (*meter) forget()                    {}
func (*meter) finish()                    {}
func (*meter) need(done uint64) uint64    { return done }

// build returns the metrics as they are at now.
func (m *meter) build(now time.Time) pmetric.Metrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	period := period{pcommon.NewTimestampFromTime(m.started), pcommon.NewTimestampFromTime(now)}
	b := m.builder
	b.RecordReflexLevelDataPoint(period.end, int64(m.level))
	b.RecordReflexEpisodesDataPoint(period.end, int64(m.episodes)) //nolint:gosec // a count
	for _, key := range slices.SortedFunc(maps.Keys(m.actions), func(a, b actionKey) int {
		return cmp.Or(cmp.Compare(a.action, b.action), cmp.Compare(a.verdict, b.verdict))
	}) {
		b.RecordReflexActionsDataPoint(period.end, int64(m.actions[key]), key.action, key.verdict) //nolint:gosec // a count
	}
	if m.keeper != nil {
		m.state(period.end)
	}
	metrics := b.Emit()
	if m.tickToKnob.count > 0 {
		metric := scopeOf(metrics, m.version).Metrics().AppendEmpty()
		metric.SetName(metricTickToKnob)
		metric.SetDescription("Time from the scheduled tick to the return of the last write of the action it led to.")
		metric.SetUnit("s")
		metric.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		m.tickToKnob.put(metric.Histogram().DataPoints().AppendEmpty(), period)
	}
	return metrics
}

// scopeOf returns the scope that a builder wrote, or one like it where all that it
// writes is switched off.
func scopeOf(metrics pmetric.Metrics, version string) pmetric.ScopeMetrics {
	if metrics.ResourceMetrics().Len() > 0 {
		return metrics.ResourceMetrics().At(0).ScopeMetrics().At(0)
	}
	sm := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	scope{version: version}.put(sm.Scope())
	return sm
}

// state records what the extension and the other signals know.
func (m *meter) state(at pcommon.Timestamp) {
	state := m.keeper.State()
	for _, l := range state.Leases {
		m.builder.RecordReflexLeasesDataPoint(at, int64(l.Count), l.Action, l.Observed)
	}
	newest := m.keeper.Journal().Stats().Newest
	var missed, refused uint64
	for signal, s := range m.streams {
		told := min(s.told.Load(), newest)
		m.builder.RecordReflexJournalBacklogDataPoint(at, int64(newest-told), signal) //nolint:gosec // a count
		missed += s.missed.Load()
		refused += s.denied.Load()
	}
	for _, d := range []struct {
		reason metadata.AttributeReason
		n      uint64
	}{
		{metadata.AttributeReasonJournalFull, state.Displaced},
		{metadata.AttributeReasonFileFull, state.FileDropped},
		{metadata.AttributeReasonFileLate, state.FileMissed},
		{metadata.AttributeReasonFileDamaged, state.Unreadable},
		{metadata.AttributeReasonMissed, missed},
		{metadata.AttributeReasonRefused, refused},
		{metadata.AttributeReasonMailboxFull, state.OrdersDropped},
	} {
		m.builder.RecordReflexDroppedDataPoint(at, int64(d.n), d.reason) //nolint:gosec // a count
	}
}

// period is the time a cumulative point is about.
type period struct{ start, end pcommon.Timestamp }

// histogram counts values into the buckets of tickToKnobBounds.
type histogram struct {
	count         uint64
	sum, min, max float64
	buckets       []uint64
}

func (h *histogram) add(v float64) {
	if h.count == 0 {
		h.min, h.max = v, v
	}
	h.count++
	h.sum += v
	h.min, h.max = min(h.min, v), max(h.max, v)
	i, _ := slices.BinarySearch(tickToKnobBounds, v) // the first bound at or above v
	h.buckets[i]++
}

func (h *histogram) put(point pmetric.HistogramDataPoint, p period) {
	point.SetStartTimestamp(p.start)
	point.SetTimestamp(p.end)
	point.SetCount(h.count)
	point.SetSum(h.sum)
	point.SetMin(h.min)
	point.SetMax(h.max)
	point.ExplicitBounds().FromRaw(tickToKnobBounds)
	point.BucketCounts().FromRaw(h.buckets)
}
