// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

func load(t *testing.T, id string) *Config {
	t.Helper()
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	sub, err := all.Sub(id)
	require.NoError(t, err)
	cfg := NewFactory().CreateDefaultConfig()
	require.NoError(t, sub.Unmarshal(cfg))
	return cfg.(*Config)
}

func TestEveryKeyIsRead(t *testing.T) {
	cfg := load(t, "mahalanobis/all")
	require.NoError(t, confmap.Validate(cfg))
	reflex, storage := component.MustNewIDWithName("reflex", "node"), component.MustNewIDWithName("file_storage", "baselines")
	assert.Equal(t, &Config{
		Reflex: &reflex, Source: "ebpf", Preset: "custom",
		Dimensions: []reading.Config{
			{Metric: "http.server.request.duration.count", Attributes: map[string]string{"http.route": "/pay"}, Kind: "counter", Scale: 50, Floor: 0.2, Load: 1},
			{Metric: "queue.size", Kind: "growth"},
		},
		Warmup: time.Minute, HalfLife: 2 * time.Hour, SlowHalfLife: 48 * time.Hour, Trend: "ewma", FalseAlarmInterval: 12 * time.Hour, CoolOff: 10 * time.Second,
		RelearnAfter: -time.Second, MaxStreams: 10, MaxStale: time.Minute,
		Storage: &storage, CheckpointInterval: 5 * time.Minute,
		Metrics: map[string]MetricConfig{"reflex.score.velocity": {}},
	}, cfg)
}

func TestBadConfigurationIsRefusedNamingTheKey(t *testing.T) {
	for id, key := range map[string]string{
		"bad_preset": "preset: ", "bad_source": "source: ", "bad_custom": "dimensions: ", "bad_addition": "dimensions::0: ",
		"bad_kind": "dimensions::0::kind: ", "bad_metric": "dimensions::0::metric: ", "bad_scale": "dimensions::1::scale: ",
		"bad_floor": "dimensions::0::floor: ", "bad_load": "dimensions::0::load: ", "bad_warmup": "warmup: ",
		"bad_half_life": "half_life: ", "bad_interval": "false_alarm_interval: ", "bad_cool_off": "cool_off: ",
		"bad_relearn": "relearn_after: ", "bad_streams": "max_streams: ", "bad_stale": "max_stale: ",
		"bad_checkpoint": "checkpoint_interval: ", "bad_metrics": "metrics::reflex.score.beauty: ", "bad_many": "dimensions: ",
		"bad_twice": "dimensions::1: ", "bad_slow": "slow_half_life: ", "bad_trend": "trend: ",
	} {
		t.Run(id, func(t *testing.T) {
			assert.ErrorContains(t, confmap.Validate(load(t, "mahalanobis/"+id)), key)
		})
	}
	for _, id := range []string{"mahalanobis", "mahalanobis/host", "mahalanobis/cgroup", "mahalanobis/more"} {
		assert.NoError(t, confmap.Validate(load(t, id)), id)
	}
}

func TestKeysReachTheDetector(t *testing.T) {
	cfg := load(t, "mahalanobis/all")
	assert.Equal(t, detect.Config{
		Warmup: time.Minute, HalfLife: 2 * time.Hour, SlowHalfLife: 48 * time.Hour, FalseAlarmInterval: 12 * time.Hour,
		CoolOff: 10 * time.Second, RelearnAfter: -time.Second, Trend: detect.EWMA, Lean: true,
	}, cfg.detection(nil))
	defaults := createDefaultConfig().(*Config).detection(nil)
	assert.Equal(t, detect.Kalman, defaults.Trend)
	assert.False(t, defaults.Lean, "the node")
}

// They are written in README.md, and are the engine's own.
func TestTheDefaultsAreThoseOfTheEngine(t *testing.T) {
	c := createDefaultConfig().(*Config)
	assert.Equal(t, 30*time.Second, c.Warmup)
	assert.Equal(t, time.Hour, c.HalfLife)
	assert.Equal(t, 168*time.Hour, c.SlowHalfLife)
	assert.Equal(t, 168*time.Hour, c.FalseAlarmInterval)
	assert.Equal(t, 30*time.Second, c.CoolOff)
	assert.Equal(t, 10*time.Minute, c.RelearnAfter)
	assert.Equal(t, "kalman", c.Trend)

	ours, theirs := detect.NewEngine(c.detection(nil)), detect.NewEngine(detect.Config{})
	a, b := newTicks(), newTicks()
	var j, k arc.Judgement
	for range 2000 {
		ours.Judge(a.next(), arc.Control{}, &j)
		theirs.Judge(b.next(), arc.Control{}, &k)
		require.Equal(t, k, j)
	}
}
