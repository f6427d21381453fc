// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"math"
	"reflect"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/flight"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// Attributes that tell where metrics come from. The processor finds the
// judgement of a tick by them.
const (
	attributeSource     = "reflex.source"
	attributeSequence   = "reflex.sequence"
	attributeSweep      = "reflex.sweep"
	attributeCgroupID   = "reflex.cgroup.id"
	attributeCgroupPath = "reflex.cgroup.path"
	attributeContainer  = "container.id"
	attributePod        = "k8s.pod.uid"
	attributeUnit       = "systemd.unit.name"
)

// Values of attributeSweep, on the scope of a cgroup: why it is there. Who learns
// what is usual learns from full sweeps, as those that moved are there for having
// moved.
const (
	sweepFull   = "full"
	sweepMovers = "movers"
)

// writer writes samples as metrics. The metrics builder that mdatagen generates
// has one method a metric; the fields of the arc are indexed, so they are written
// by index. It is used by the delivery goroutine only.
type writer struct {
	version    string
	node       [arc.NumNodeFields]bool // enabled
	cgroup     [arc.NumCgroupFields]bool
	nodeStart  [arc.NumNodeFields]int64 // CLOCK_BOOTTIME, ns
	epoch      epoch
	identities *identities
	look       *look
}

// newWriter returns a writer of node counters that count since the instants
// nodeStart (CLOCK_BOOTTIME, ns).
func newWriter(version string, enabled metadata.MetricsConfig, nodeStart [arc.NumNodeFields]int64, ids *identities) *writer {
	w := &writer{version: version, nodeStart: nodeStart, identities: ids}
	on := enabledMetrics(enabled)
	for i, f := range arc.NodeFields {
		w.node[i] = on[f.Name]
	}
	for i, f := range arc.CgroupFields {
		w.cgroup[i] = on[f.Name]
	}
	w.look = newLook(ids, w.cgroup)
	return w
}

// enabledMetrics maps the names of metrics to whether they are enabled.
func enabledMetrics(cfg metadata.MetricsConfig) map[string]bool {
	on := map[string]bool{}
	v := reflect.ValueOf(cfg)
	for i := range v.NumField() {
		on[v.Type().Field(i).Tag.Get("mapstructure")] = v.Field(i).FieldByName("Enabled").Bool()
	}
	return on
}

// write returns the node of a sample and the given rows of its sweep, which are
// those of sweep, full or movers. It looks at the cgroups where that is due, and
// leaves what it saw in the sample.
func (w *writer) write(s *arc.Sample, rows []int, sweep string) pmetric.Metrics {
	md := pmetric.NewMetrics()
	md.ResourceMetrics().EnsureCapacity(1 + len(rows))
	w.writeNode(md, s)
	w.identities.resolve(s, rows)
	w.look.at(s, rows, sweep)
	for _, row := range rows {
		w.writeCgroup(md, s, row, sweep, pcommon.Timestamp(s.WallTime))
	}
	return md
}

// writeRecorded adds a tick that was recorded, of which nothing is left to be looked at.
func (w *writer) writeRecorded(md pmetric.Metrics, s *arc.Sample, rows []int) {
	w.writeNode(md, s)
	w.identities.resolve(s, rows)
	for _, row := range rows {
		w.writeCgroup(md, s, row, sweepMovers, pcommon.Timestamp(s.WallTime))
	}
}

func (w *writer) writeNode(md pmetric.Metrics, s *arc.Sample) {
	w.epoch.follow(s)
	scope := w.scope(md.ResourceMetrics().AppendEmpty(), s)
	scope.Scope().Attributes().PutInt(attributeSequence, int64(s.Sequence))
	metrics := scope.Metrics()
	metrics.EnsureCapacity(len(s.Node))
	for i, v := range s.Node {
		if w.node[i] && !math.IsNaN(v) {
			writePoint(metrics, &arc.NodeFields[i], v, w.epoch.start(w.nodeStart[i], s.WallTime), pcommon.Timestamp(s.WallTime))
		}
	}
}

// The least and the greatest value of a gauge since the delivery before are metrics of
// these names.
const (
	suffixMin = ".min"
	suffixMax = ".max"
)

// writeExtremes adds the extremes of the node's gauges to what was written of a sample.
func (w *writer) writeExtremes(md pmetric.Metrics, s *arc.Sample, e *flight.Extremes) {
	metrics := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
	for f := range e.Min {
		if !w.node[f] || math.IsNaN(e.Min[f]) || arc.NodeField(f) == arc.NodeMemoryTotal { // which does not change
			continue
		}
		for suffix, v := range map[string]float64{suffixMin: e.Min[f], suffixMax: e.Max[f]} {
			field := arc.NodeFields[f]
			field.Name += suffix
			field.Help = map[string]string{suffixMin: "Least ", suffixMax: "Greatest "}[suffix] + field.Name[:len(field.Name)-len(suffix)] + " since the delivery before."
			writePoint(metrics, &field, v, 0, pcommon.Timestamp(s.WallTime))
		}
	}
}

func (w *writer) writeCgroup(md pmetric.Metrics, s *arc.Sample, row int, sweep string, now pcommon.Timestamp) {
	identity := w.identities.of(s.Cgroups.ID[row])
	if identity == nil {
		return // gone before it could be named
	}
	rm := md.ResourceMetrics().AppendEmpty()
	attributes := rm.Resource().Attributes()
	attributes.PutInt(attributeCgroupID, int64(s.Cgroups.ID[row]))
	putNonEmpty(attributes, attributeCgroupPath, identity.path)
	putNonEmpty(attributes, attributeContainer, identity.container)
	putNonEmpty(attributes, attributePod, identity.pod)
	putNonEmpty(attributes, attributeUnit, identity.unit)

	identity.start = min(identity.start, s.Taken) // a recorded tick comes late
	start := w.epoch.start(identity.start, s.WallTime)
	scope := w.scope(rm, s)
	scope.Scope().Attributes().PutStr(attributeSweep, sweep)
	metrics := scope.Metrics()
	metrics.EnsureCapacity(int(arc.NumCgroupFields))
	for f := range arc.NumCgroupFields {
		v := s.Cgroups.Value(f, row)
		field := &arc.CgroupFields[f]
		switch {
		case !w.cgroup[f] || v == arc.Absent:
		case isLimit(f) && v >= arc.Unlimited:
		case field.Unit == "s":
			writePoint(metrics, field, float64(v)/1e9, start, now)
		default:
			writePoint(metrics, field, float64(v), start, now)
		}
	}
}

func isLimit(f arc.CgroupField) bool {
	return f == arc.CgroupMemoryHigh || f == arc.CgroupMemoryMax || f == arc.CgroupPidsMax
}

// scope adds the scope.
func (w *writer) scope(rm pmetric.ResourceMetrics, s *arc.Sample) pmetric.ScopeMetrics {
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName(metadata.ScopeName)
	sm.Scope().SetVersion(w.version)
	sm.Scope().Attributes().PutStr(attributeSource, s.Source)
	return sm
}

// fractional says of a unit that its values are not whole.
func fractional(unit string) bool { return unit == "s" || unit == "1" }

// writePoint writes a metric of one point: times and ratios as doubles, counts
// and bytes as integers, which a float64 holds exactly up to 2⁵³.
func writePoint(metrics pmetric.MetricSlice, f *arc.Field, v float64, start, now pcommon.Timestamp) {
	m := metrics.AppendEmpty()
	m.SetName(f.Name)
	m.SetUnit(f.Unit)
	m.SetDescription(f.Help)
	var point pmetric.NumberDataPoint
	if f.Kind == arc.Counter {
		sum := m.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		point = sum.DataPoints().AppendEmpty()
		point.SetStartTimestamp(start)
	} else {
		point = m.SetEmptyGauge().DataPoints().AppendEmpty()
	}
	point.SetTimestamp(now)
	if fractional(f.Unit) {
		point.SetDoubleValue(v)
	} else {
		point.SetIntValue(int64(v))
	}
}

func putNonEmpty(m pcommon.Map, key, value string) {
	if value != "" {
		m.PutStr(key, value)
	}
}
