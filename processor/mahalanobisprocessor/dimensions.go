// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// reading says where the raw value of one dimension comes from: the sum of the
// data points of a metric that carry all of attributes.
type reading struct {
	metric     string
	attributes map[string]string
	counter    bool
}

// vocabulary is a set of dimensions and where they are read.
type vocabulary struct {
	dims     []detect.Dimension
	readings []reading
	byMetric map[string][]int
}

func newVocabulary(c *Config) *vocabulary {
	v := &vocabulary{byMetric: map[string][]int{}}
	switch c.Preset {
	case presetNode:
		dims, fields := detect.NodeDimensions()
		for i, d := range dims {
			f := arc.NodeFields[fields[i]]
			v.add(d, reading{metric: f.Name, counter: f.Kind == arc.Counter})
		}
	case presetHostMetrics:
		for _, d := range hostMetrics {
			v.addConfig(d)
		}
	default:
		for _, d := range c.Dimensions {
			v.addConfig(d)
		}
	}
	return v
}

func (v *vocabulary) add(d detect.Dimension, r reading) {
	i := len(v.dims)
	v.dims, v.readings = append(v.dims, d), append(v.readings, r)
	v.byMetric[r.metric] = append(v.byMetric[r.metric], i)
}

func (v *vocabulary) addConfig(c DimensionConfig) {
	d := detect.Dimension{Name: c.name(), Transform: detect.Asinh, Scale: c.Scale, Floor: c.Floor, Load: int8(c.Load)}
	switch c.Kind {
	case "counter":
		d.Kind, d.Transform = detect.Rate, detect.Log1p
	case "growth":
		d.Kind = detect.Growth
	}
	v.add(d, reading{metric: c.Metric, attributes: c.Attributes, counter: c.Kind == "counter"})
}

// name is the dimension's name: the metric's, its attribute values, and a
// suffix for growth.
func (d *DimensionConfig) name() string {
	name := d.Metric
	keys := make([]string, 0, len(d.Attributes))
	for k := range d.Attributes {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var nameSb77 strings.Builder
	for _, k := range keys {
		nameSb77.WriteString("." + d.Attributes[k])
	}
	name += nameSb77.String()
	if d.Kind == "growth" {
		name += detect.GrowthSuffix
	}
	return name
}

// hostMetrics is the preset for the host_metrics receiver's default names. A
// dimension whose scraper or attribute is not there is absent.
var hostMetrics = []DimensionConfig{
	{Metric: "system.cpu.time", Attributes: map[string]string{"state": "user"}, Kind: "counter", Scale: 0.5, Floor: 0.25, Load: 1},
	{Metric: "system.cpu.time", Attributes: map[string]string{"state": "system"}, Kind: "counter", Scale: 0.25, Floor: 0.25, Load: 1},
	{Metric: "system.cpu.time", Attributes: map[string]string{"state": "wait"}, Kind: "counter", Scale: 0.25, Floor: 0.4, Load: 1},
	{Metric: "system.memory.usage", Attributes: map[string]string{"state": "used"}, Kind: "gauge", Scale: 64 << 20, Floor: 0.2, Load: 1},
	{Metric: "system.memory.usage", Attributes: map[string]string{"state": "used"}, Kind: "growth", Scale: 8 << 20, Floor: 0.2, Load: 1},
	{Metric: "system.paging.faults", Kind: "counter", Scale: 4000, Floor: 0.4, Load: 1},
	{Metric: "system.paging.operations", Kind: "counter", Scale: 50, Floor: 0.4, Load: 1},
	{Metric: "system.processes.created", Kind: "counter", Scale: 20, Floor: 0.4, Load: 1},
	{Metric: "system.disk.io", Kind: "counter", Scale: 4 << 20, Floor: 0.5, Load: 1},
	{Metric: "system.disk.operations", Kind: "counter", Scale: 100, Floor: 0.5, Load: 1},
	{Metric: "system.network.io", Attributes: map[string]string{"direction": "receive"}, Kind: "counter", Scale: 1 << 20, Floor: 0.5, Load: 1},
	{Metric: "system.network.io", Attributes: map[string]string{"direction": "transmit"}, Kind: "counter", Scale: 1 << 20, Floor: 0.5, Load: 1},
}

// read adds the data points of m to the raw values of the dimensions that are
// read from it, and to found what was added. Delta sums are added to total, which
// makes them cumulative. It returns the newest timestamp seen.
func (v *vocabulary) read(m pmetric.Metric, raw, total []float64, found []bool) (newest int64) {
	dims := v.byMetric[m.Name()]
	if len(dims) == 0 {
		return 0
	}
	var points pmetric.NumberDataPointSlice
	delta := false
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		points = m.Gauge().DataPoints()
	case pmetric.MetricTypeSum:
		points = m.Sum().DataPoints()
		delta = m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityDelta
	default:
		return 0
	}
	for i := range points.Len() {
		p := points.At(i)
		if p.Flags().NoRecordedValue() {
			continue
		}
		var value float64
		switch p.ValueType() {
		case pmetric.NumberDataPointValueTypeInt:
			value = float64(p.IntValue())
		case pmetric.NumberDataPointValueTypeDouble:
			value = p.DoubleValue()
		default:
			continue
		}
		for _, j := range dims {
			r := &v.readings[j]
			if !r.matches(p) {
				continue
			}
			newest = max(newest, int64(p.Timestamp()))
			if delta && r.counter {
				if value-value == 0 {
					total[j] += value
				}
				raw[j] = total[j]
			} else if found[j] {
				raw[j] += value
			} else {
				raw[j] = value
			}
			found[j] = true
		}
	}
	return newest
}

func (r *reading) matches(p pmetric.NumberDataPoint) bool {
	for k, want := range r.attributes {
		got, ok := p.Attributes().Get(k)
		if !ok || got.AsString() != want {
			return false
		}
	}
	return true
}
