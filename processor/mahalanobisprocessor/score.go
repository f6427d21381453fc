// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

const (
	// attributeProcessor, on a score's scope, is the id of the processor that
	// made it: two may judge one resource.
	attributeProcessor = "reflex.processor"
	attributeDimension = "reflex.dimension"
)

// score is one score metric, of a number or of a count. mdatagen writes no
// metrics builder for a processor; a test keeps these the metrics of metadata.yaml.
type score struct {
	name, unit, description string
	number                  func(*arc.Judgement) float64
	count                   func(*arc.Judgement) int64 // instead of number
}

var scores = [...]score{
	{
		name: "reflex.score", unit: "1", description: "How unusual the resource is, as a distance that would be as rare; what is compared with the limit.",
		number: func(j *arc.Judgement) float64 { return j.Score },
	},
	{
		name: "reflex.score.acceleration", unit: "1/s2", description: "Filtered second derivative of the distance.",
		number: func(j *arc.Judgement) float64 { return j.Acceleration },
	},
	{
		name: "reflex.score.anomalous", unit: "1", description: "Whether the score is beyond the limit, 0 or 1.",
		count: func(j *arc.Judgement) int64 {
			if j.Anomalous {
				return 1
			}
			return 0
		},
	},
	{
		name: "reflex.score.confidence", unit: "1", description: "How much the baseline has learned, from 0 to 1.",
		number: func(j *arc.Judgement) float64 { return j.Confidence },
	},
	{
		name: "reflex.score.deformation", unit: "1", description: "How much the recent covariance differs from that of the baseline, as a share of the latter.",
		number: func(j *arc.Judgement) float64 { return j.Deformation },
	},
	{
		name: "reflex.score.direction", unit: "1", description: "Mean deviation of the dimensions that say something of load, in standard deviations; positive is more load than usual.",
		number: func(j *arc.Judgement) float64 { return j.Direction },
	},
	{
		name: "reflex.score.distance", unit: "1", description: "Mahalanobis distance of the resource from its baseline.",
		number: func(j *arc.Judgement) float64 { return j.Distance },
	},
	{
		name: "reflex.score.limit", unit: "1", description: "Score beyond which the resource is anomalous.",
		number: func(j *arc.Judgement) float64 { return j.Limit },
	},
	{
		name: "reflex.score.regime", unit: "1", description: "Regime of the resource, from -3 to 5; 0 is its usual one.",
		count: func(j *arc.Judgement) int64 { return int64(j.Regime) },
	},
	{
		name: "reflex.score.velocity", unit: "1/s", description: "Filtered first derivative of the distance.",
		number: func(j *arc.Judgement) float64 { return j.Velocity },
	},
}

var contribution = score{
	name: "reflex.score.contribution", unit: "1", description: "Part of the squared distance that one dimension explains; the largest eight.",
}

// isScore reports whether there is a score metric called name.
func isScore(name string) bool {
	return name == contribution.name || slices.ContainsFunc(scores[:], func(s score) bool { return s.name == name })
}

// scoreWriter writes judgements as metrics.
type scoreWriter struct {
	processor, version string
	off                map[string]bool
	silent             bool // all are off
}

func newScoreWriter(processor, version string, metrics map[string]MetricConfig) scoreWriter {
	w := scoreWriter{processor: processor, version: version, off: map[string]bool{}}
	for name, m := range metrics {
		w.off[name] = !m.Enabled
	}
	w.silent = w.off[contribution.name] && !slices.ContainsFunc(scores[:], func(s score) bool { return !w.off[s.name] })
	return w
}

// append adds the score scope to rm.
func (w *scoreWriter) append(rm pmetric.ResourceMetrics, j *arc.Judgement, at pcommon.Timestamp) {
	if w.silent {
		return
	}
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName(metadata.ScopeName)
	sm.Scope().SetVersion(w.version)
	sm.Scope().Attributes().PutStr(attributeProcessor, w.processor)
	metrics := sm.Metrics()
	metrics.EnsureCapacity(len(scores) + 1)
	for i := range scores {
		s := &scores[i]
		if w.off[s.name] {
			continue
		}
		p := s.points(metrics).AppendEmpty()
		p.SetTimestamp(at)
		if s.count != nil {
			p.SetIntValue(s.count(j))
		} else {
			p.SetDoubleValue(s.number(j))
		}
	}
	if w.off[contribution.name] || j.NumContributions == 0 {
		return
	}
	points := contribution.points(metrics)
	points.EnsureCapacity(j.NumContributions)
	for i := range j.NumContributions {
		c := &j.Contributions[i]
		p := points.AppendEmpty()
		p.SetTimestamp(at)
		p.SetDoubleValue(c.Share)
		p.Attributes().PutStr(attributeDimension, c.Dimension)
	}
}

// points adds the metric, a gauge, and returns its data points.
func (s *score) points(metrics pmetric.MetricSlice) pmetric.NumberDataPointSlice {
	m := metrics.AppendEmpty()
	m.SetName(s.name)
	m.SetUnit(s.unit)
	m.SetDescription(s.description)
	return m.SetEmptyGauge().DataPoints()
}

// wrote reports whether rm carries a score of this processor already.
func (w *scoreWriter) wrote(rm pmetric.ResourceMetrics) bool {
	for i := range rm.ScopeMetrics().Len() {
		scope := rm.ScopeMetrics().At(i).Scope()
		if scope.Name() != metadata.ScopeName {
			continue
		}
		if id, ok := scope.Attributes().Get(attributeProcessor); ok && id.AsString() == w.processor {
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
