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

	"github.com/otelcol-reflex/reflex/internal/episode"
)

// The names of the metrics.
const (
	metricLevel      = "reflex.level"
	metricEpisodes   = "reflex.episodes"
	metricActions    = "reflex.actions"
	metricTickToKnob = "reflex.tick_to_knob"
)

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
	scope   scope
	started time.Time

	mu         sync.Mutex
	level      int
	episodes   uint64
	actions    map[actionKey]uint64
	tickToKnob histogram
}

func newMeter(scope scope, started time.Time) *meter {
	return &meter{
		scope: scope, started: started, actions: map[actionKey]uint64{},
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
	metrics := pmetric.NewMetrics()
	sm := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	m.scope.put(sm.Scope())
	period := period{pcommon.NewTimestampFromTime(m.started), pcommon.NewTimestampFromTime(now)}

	level := newMetric(sm, metricLevel, "Level in force, from 0 (normal) to 5 (quarantine).", "{level}")
	point := level.SetEmptyGauge().DataPoints().AppendEmpty()
	point.SetTimestamp(period.end)
	point.SetIntValue(int64(m.level))

	episodes := newSum(sm, metricEpisodes, "Episodes opened.", "{episode}")
	period.put(episodes.AppendEmpty(), m.episodes)

	if len(m.actions) > 0 {
		actions := newSum(sm, metricActions, "Orders answered, by action and verdict.", "{action}")
		for _, key := range slices.SortedFunc(maps.Keys(m.actions), func(a, b actionKey) int {
			return cmp.Or(cmp.Compare(a.action, b.action), cmp.Compare(a.verdict, b.verdict))
		}) {
			point := actions.AppendEmpty()
			period.put(point, m.actions[key])
			point.Attributes().PutStr(attrAction, key.action)
			point.Attributes().PutStr(attrVerdict, key.verdict)
		}
	}
	if m.tickToKnob.count > 0 {
		metric := newMetric(sm, metricTickToKnob, "Time from the scheduled tick to the return of the last write of the action it led to.", "s")
		metric.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		m.tickToKnob.put(metric.Histogram().DataPoints().AppendEmpty(), period)
	}
	return metrics
}

func newMetric(sm pmetric.ScopeMetrics, name, description, unit string) pmetric.Metric {
	m := sm.Metrics().AppendEmpty()
	m.SetName(name)
	m.SetDescription(description)
	m.SetUnit(unit)
	return m
}

func newSum(sm pmetric.ScopeMetrics, name, description, unit string) pmetric.NumberDataPointSlice {
	sum := newMetric(sm, name, description, unit).SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	return sum.DataPoints()
}

// period is the time a cumulative point is about.
type period struct{ start, end pcommon.Timestamp }

func (p period) put(point pmetric.NumberDataPoint, value uint64) {
	point.SetStartTimestamp(p.start)
	point.SetTimestamp(p.end)
	point.SetIntValue(int64(value)) //nolint:gosec // a count
}

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
