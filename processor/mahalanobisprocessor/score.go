// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

// appendScore adds the score scope to rm.
func appendScore(rm pmetric.ResourceMetrics, j *arc.Judgement, at pcommon.Timestamp) {
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName(metadata.ScopeName)
	metrics := sm.Metrics()
	gauge := func(name, unit, description string) pmetric.Gauge {
		m := metrics.AppendEmpty()
		m.SetName(name)
		m.SetUnit(unit)
		m.SetDescription(description)
		return m.SetEmptyGauge()
	}
	number := func(name, unit, description string, v float64) {
		p := gauge(name, unit, description).DataPoints().AppendEmpty()
		p.SetTimestamp(at)
		p.SetDoubleValue(v)
	}
	metrics.EnsureCapacity(6)
	number("reflex.score.distance", "1", "Mahalanobis distance of the resource from its baseline.", j.Distance)
	number("reflex.score.limit", "1", "Distance beyond which the resource is anomalous.", j.Limit)
	number("reflex.score.velocity", "1/s", "Filtered first derivative of the distance.", j.Velocity)
	number("reflex.score.acceleration", "1/s2", "Filtered second derivative of the distance.", j.Acceleration)

	p := gauge("reflex.score.anomalous", "1", "Whether the score is beyond the limit.").DataPoints().AppendEmpty()
	p.SetTimestamp(at)
	if j.Anomalous {
		p.SetIntValue(1)
	} else {
		p.SetIntValue(0)
	}

	points := gauge("reflex.score.contribution", "1", "Part of the squared distance that one dimension explains; the largest eight.").DataPoints()
	points.EnsureCapacity(j.NumContributions)
	for i := range j.NumContributions {
		c := &j.Contributions[i]
		p := points.AppendEmpty()
		p.SetTimestamp(at)
		p.SetDoubleValue(c.Share)
		p.Attributes().PutStr("reflex.dimension", c.Dimension)
	}
}

// scored reports whether rm carries a score already.
func scored(rm pmetric.ResourceMetrics) bool {
	for i := range rm.ScopeMetrics().Len() {
		if rm.ScopeMetrics().At(i).Scope().Name() == metadata.ScopeName {
			return true
		}
	}
	return false
}

// firstTimestamp is the time of the first data point of sm.
func firstTimestamp(sm pmetric.ScopeMetrics) pcommon.Timestamp {
	for i := range sm.Metrics().Len() {
		m := sm.Metrics().At(i)
		var points pmetric.NumberDataPointSlice
		switch m.Type() {
		case pmetric.MetricTypeGauge:
			points = m.Gauge().DataPoints()
		case pmetric.MetricTypeSum:
			points = m.Sum().DataPoints()
		default:
			continue
		}
		if points.Len() > 0 {
			return points.At(0).Timestamp()
		}
	}
	return 0
}
