// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

// Config of the mahalanobis processor.
type Config struct {
	// Reflex names the reflex extension to register with. Unset: the one
	// extension that is a meeting place of the arc, or none.
	Reflex *component.ID `mapstructure:"reflex"`
	// Source is the source whose samples this processor judges on the arc, with
	// preset node and a reflex extension.
	Source string `mapstructure:"source"`
	// Preset chooses the dimensions: node, cgroup, host_metrics or custom.
	Preset string `mapstructure:"preset"`
	// Dimensions are added to those of the preset, and are all of preset custom.
	Dimensions []reading.Config `mapstructure:"dimensions"`
	// Warmup is how long a baseline learns before it judges.
	Warmup time.Duration `mapstructure:"warmup"`
	// HalfLife and SlowHalfLife are the ages at which what was learned counts
	// half in the fast and the slow baseline.
	HalfLife     time.Duration `mapstructure:"half_life"`
	SlowHalfLife time.Duration `mapstructure:"slow_half_life"`
	// FalseAlarmInterval is the mean time between false episodes that limits aim
	// at.
	FalseAlarmInterval time.Duration `mapstructure:"false_alarm_interval"`
	// CoolOff bounds the time after an anomaly in which nothing is learned.
	CoolOff time.Duration `mapstructure:"cool_off"`
	// RelearnAfter is how long a new state must be steady and harmless before it
	// is accepted as a plateau. Negative: never.
	RelearnAfter time.Duration `mapstructure:"relearn_after"`
	// Trend chooses the filter that velocity and acceleration come from: kalman
	// or ewma.
	Trend string `mapstructure:"trend"`
	// MaxStreams bounds the number of baselines.
	MaxStreams int `mapstructure:"max_streams"`
	// MaxStale is the age at which the baseline of a resource that is gone may
	// be given up.
	MaxStale time.Duration `mapstructure:"max_stale"`
	// Storage names the storage extension that keeps checkpoints of baselines
	// over restarts. Unset: none are kept.
	Storage *component.ID `mapstructure:"storage"`
	// CheckpointInterval is the time between two checkpoints of a baseline.
	CheckpointInterval time.Duration `mapstructure:"checkpoint_interval"`
	// Metrics switches score metrics off, by name. The others are on.
	Metrics map[string]MetricConfig `mapstructure:"metrics"`
}

// MetricConfig is what can be said of a score metric.
type MetricConfig struct {
	Enabled bool `mapstructure:"enabled"`
}

// Values of Config.Trend.
const (
	trendKalman = "kalman"
	trendEWMA   = "ewma"
)

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config {
	return &Config{
		Source:             "ebpf",
		Preset:             reading.Node,
		Warmup:             30 * time.Second,
		HalfLife:           time.Hour,
		SlowHalfLife:       7 * 24 * time.Hour,
		FalseAlarmInterval: 7 * 24 * time.Hour,
		CoolOff:            30 * time.Second,
		RelearnAfter:       10 * time.Minute,
		Trend:              trendKalman,
		MaxStreams:         1000,
		MaxStale:           5 * time.Minute,
		CheckpointInterval: time.Minute,
	}
}

// maxDimensions bounds a baseline: its cost grows with the square.
const maxDimensions = 64

// Validate refuses what cannot work, naming the key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	vocabulary, err := reading.New(c.Preset, c.Dimensions)
	switch {
	case err != nil:
		errs = append(errs, err)
	case len(vocabulary.Dimensions()) == 0:
		refuse("dimensions: preset custom needs at least one")
	case len(vocabulary.Dimensions()) > maxDimensions:
		refuse("dimensions: %d, with those of the preset, are more than %d", len(vocabulary.Dimensions()), maxDimensions)
	}
	if c.Preset == reading.Node && c.Source == "" {
		refuse("source: must name the source to judge, e.g. ebpf")
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
	positive("checkpoint_interval", c.CheckpointInterval)
	if c.RelearnAfter == 0 {
		refuse("relearn_after: must not be 0; negative means never")
	}
	if c.HalfLife > 0 && c.HalfLife < c.Warmup {
		refuse("half_life: %v is shorter than warmup %v", c.HalfLife, c.Warmup)
	}
	if c.SlowHalfLife < c.HalfLife {
		refuse("slow_half_life: %v is shorter than half_life %v", c.SlowHalfLife, c.HalfLife)
	}
	if c.Trend != trendKalman && c.Trend != trendEWMA {
		refuse("trend: %q is not one of kalman, ewma", c.Trend)
	}
	if c.MaxStreams <= 0 {
		refuse("max_streams: must be positive, is %d", c.MaxStreams)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Metrics)) {
		if !isScore(name) {
			refuse("metrics::%s: no such metric", name)
		}
	}
	return errors.Join(errs...)
}

// detection returns the detector configuration for dims. Only a node is worth the
// memory that times of the week and audits take: there may be max_streams of the
// others.
func (c *Config) detection(dims []detect.Dimension) detect.Config {
	config := detect.Config{
		Dimensions: dims, Warmup: c.Warmup, HalfLife: c.HalfLife, SlowHalfLife: c.SlowHalfLife,
		FalseAlarmInterval: c.FalseAlarmInterval, CoolOff: c.CoolOff, RelearnAfter: c.RelearnAfter,
		Lean: c.Preset != reading.Node,
	}
	if c.Trend == trendEWMA {
		config.Trend = detect.EWMA
	}
	return config
}
