// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"errors"
	"fmt"
	"math"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Presets.
const (
	presetNode        = "node"
	presetHostMetrics = "host_metrics"
	presetCustom      = "custom"
)

// Config of the mahalanobis processor.
type Config struct {
	// Reflex names the reflex extension to register with. Unset: the one
	// extension that is a meeting place of the arc, or none.
	Reflex *component.ID `mapstructure:"reflex"`
	// Source is the source whose samples this processor judges on the arc, with
	// preset node and a reflex extension.
	Source string `mapstructure:"source"`
	// Preset chooses the dimensions: node, host_metrics or custom.
	Preset string `mapstructure:"preset"`
	// Dimensions of preset custom.
	Dimensions []DimensionConfig `mapstructure:"dimensions"`
	// Warmup is how long a baseline learns before it judges.
	Warmup time.Duration `mapstructure:"warmup"`
	// HalfLife is the age at which what was learned counts half.
	HalfLife time.Duration `mapstructure:"half_life"`
	// FalseAlarmInterval is the mean time between false anomalous judgements
	// that limits aim at.
	FalseAlarmInterval time.Duration `mapstructure:"false_alarm_interval"`
	// CoolOff bounds the time after an anomaly in which nothing is learned.
	CoolOff time.Duration `mapstructure:"cool_off"`
	// RelearnAfter is how long an anomaly may keep a baseline from learning
	// before the new state is accepted. Negative: for ever.
	RelearnAfter time.Duration `mapstructure:"relearn_after"`
	// MaxStreams bounds the number of baselines.
	MaxStreams int `mapstructure:"max_streams"`
	// MaxStale is the age at which the baseline of a resource that is gone may
	// be given up.
	MaxStale time.Duration `mapstructure:"max_stale"`
}

// DimensionConfig is one dimension of preset custom.
type DimensionConfig struct {
	// Metric is the name of a sum or gauge. Its data points are added up.
	Metric string `mapstructure:"metric"`
	// Attributes that a data point must have to count, each with this value.
	Attributes map[string]string `mapstructure:"attributes"`
	// Kind is counter (its rate), gauge (its level) or growth (a gauge's rate of
	// change).
	Kind string `mapstructure:"kind"`
	// Scale is where the dimension turns from noise to matter, in the unit of
	// the metric, per second for counter and growth.
	Scale float64 `mapstructure:"scale"`
	// Floor is the least standard deviation ever assumed, in natural logarithms
	// for values above Scale and in parts of Scale below it.
	Floor float64 `mapstructure:"floor"`
	// Load is 1 where more means more load, -1 where less does, else 0.
	Load int `mapstructure:"load"`
}

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config {
	return &Config{
		Source:             "ebpf",
		Preset:             presetNode,
		Warmup:             30 * time.Second,
		HalfLife:           30 * time.Minute,
		FalseAlarmInterval: 24 * time.Hour,
		CoolOff:            30 * time.Second,
		RelearnAfter:       10 * time.Minute,
		MaxStreams:         1000,
		MaxStale:           5 * time.Minute,
	}
}

// Validate refuses what cannot work, naming the key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch c.Preset {
	case presetNode:
		if c.Source == "" {
			refuse("source: must name the source to judge, e.g. ebpf")
		}
	case presetHostMetrics:
	case presetCustom:
		if len(c.Dimensions) == 0 {
			refuse("dimensions: preset custom needs at least one")
		}
	default:
		refuse("preset: %q is not one of node, host_metrics, custom", c.Preset)
	}
	if len(c.Dimensions) > 0 && c.Preset != presetCustom {
		refuse("dimensions: only preset custom takes them, preset is %q", c.Preset)
	}
	if len(c.Dimensions) > maxDimensions {
		refuse("dimensions: %d are more than %d", len(c.Dimensions), maxDimensions)
	}
	for i := range c.Dimensions {
		if err := c.Dimensions[i].validate(); err != nil {
			refuse("dimensions::%d::%w", i, err)
		}
	}
	positive := func(key string, d time.Duration) {
		if d <= 0 {
			refuse("%s: must be positive, is %v", key, d)
		}
	}
	positive("warmup", c.Warmup)
	positive("half_life", c.HalfLife)
	positive("false_alarm_interval", c.FalseAlarmInterval)
	positive("cool_off", c.CoolOff)
	positive("max_stale", c.MaxStale)
	if c.RelearnAfter == 0 {
		refuse("relearn_after: must not be 0; negative means never")
	}
	if c.HalfLife > 0 && c.HalfLife < c.Warmup {
		refuse("half_life: %v is shorter than warmup %v", c.HalfLife, c.Warmup)
	}
	if c.MaxStreams <= 0 {
		refuse("max_streams: must be positive, is %d", c.MaxStreams)
	}
	return errors.Join(errs...)
}

// maxDimensions bounds a baseline: its cost grows with the square.
const maxDimensions = 64

func (d *DimensionConfig) validate() error {
	if d.Metric == "" {
		return errors.New("metric: must not be empty")
	}
	switch d.Kind {
	case "counter", "gauge", "growth":
	default:
		return fmt.Errorf("kind: %q is not one of counter, gauge, growth", d.Kind)
	}
	if d.Scale < 0 || math.IsNaN(d.Scale) || math.IsInf(d.Scale, 0) {
		return fmt.Errorf("scale: must be positive, is %v", d.Scale)
	}
	if d.Floor < 0 || math.IsNaN(d.Floor) || math.IsInf(d.Floor, 0) {
		return fmt.Errorf("floor: must be positive, is %v", d.Floor)
	}
	if d.Load < -1 || d.Load > 1 {
		return fmt.Errorf("load: must be -1, 0 or 1, is %d", d.Load)
	}
	return nil
}

// detection returns the detector configuration for dims.
func (c *Config) detection(dims []detect.Dimension) detect.Config {
	return detect.Config{
		Dimensions: dims, Warmup: c.Warmup, HalfLife: c.HalfLife, FalseAlarmInterval: c.FalseAlarmInterval,
		CoolOff: c.CoolOff, RelearnAfter: c.RelearnAfter,
	}
}
