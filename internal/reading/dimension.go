// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Kinds of a [Config].
const (
	KindCounter = "counter"
	KindGauge   = "gauge"
	KindGrowth  = "growth"
)

// Config is one dimension as a user chooses it.
type Config struct {
	// Metric is the name of a sum or gauge. Its data points are added up.
	Metric string `mapstructure:"metric"`
	// Attributes that a data point must have to count, each with this value.
	Attributes map[string]string `mapstructure:"attributes"`
	// Kind is counter (its rate), gauge (its level) or growth (a gauge's rate of
	// change).
	Kind string `mapstructure:"kind"`
	// Scale is where the dimension turns from noise to matter, in the unit of
	// the metric, per second for counter and growth. 0: learned.
	Scale float64 `mapstructure:"scale"`
	// Floor is the least standard deviation ever assumed, in natural logarithms
	// for values above Scale and in parts of Scale below it. 0:
	// [detect.DefaultFloor].
	Floor float64 `mapstructure:"floor"`
	// Load is 1 where more means more load, -1 where less does, else 0.
	Load int `mapstructure:"load"`
}

// Check refuses what cannot be read, naming the key.
func (c *Config) Check() error {
	if c.Metric == "" {
		return errors.New("metric: must not be empty")
	}
	switch c.Kind {
	case KindCounter, KindGauge, KindGrowth:
	default:
		return fmt.Errorf("kind: %q is not one of counter, gauge, growth", c.Kind)
	}
	if !(c.Scale >= 0) || math.IsInf(c.Scale, 0) {
		return fmt.Errorf("scale: must be positive, is %v", c.Scale)
	}
	if !(c.Floor >= 0) || math.IsInf(c.Floor, 0) {
		return fmt.Errorf("floor: must be positive, is %v", c.Floor)
	}
	if c.Load < -1 || c.Load > 1 {
		return fmt.Errorf("load: must be -1, 0 or 1, is %d", c.Load)
	}
	return nil
}

// Dimension is one coordinate and where its raw value is read: the sum of the
// data points of Metric that carry all of Attributes.
type Dimension struct {
	detect.Dimension
	Metric     string
	Attributes map[string]string
}

// Dimension returns the dimension that c chooses.
func (c *Config) Dimension() Dimension {
	d := detect.Free(c.name())
	if c.Scale > 0 {
		d.Transform, d.Scale = detect.Asinh, c.Scale
		if c.Kind == KindCounter {
			d.Transform = detect.Log1p
		}
	}
	switch c.Kind {
	case KindCounter:
		d.Kind = detect.Rate
	case KindGrowth:
		d.Kind = detect.Growth
	default:
		d.Kind = detect.Level
	}
	if c.Floor > 0 {
		d.Floor = c.Floor
	}
	d.Load = int8(c.Load)
	return Dimension{Dimension: d, Metric: c.Metric, Attributes: c.Attributes}
}

// name is the dimension's name: the metric's, its attribute values in the order
// of their keys, and a suffix for growth.
func (c *Config) name() string {
	var b strings.Builder
	b.WriteString(c.Metric)
	for _, k := range slices.Sorted(maps.Keys(c.Attributes)) {
		b.WriteByte('.')
		b.WriteString(c.Attributes[k])
	}
	if c.Kind == KindGrowth {
		b.WriteString(detect.GrowthSuffix)
	}
	return b.String()
}

// same reports whether d and e read the same.
func (d *Dimension) same(e *Dimension) bool {
	return d.Metric == e.Metric && d.Kind == e.Kind && maps.Equal(d.Attributes, e.Attributes)
}
