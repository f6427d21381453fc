// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func loadConfig(t *testing.T, id string) (*Config, error) {
	t.Helper()
	all, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := all.Sub(id)
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := loadConfig(t, "ebpf")
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), cfg)
	assert.Equal(t, 100*time.Millisecond, cfg.Interval)
	assert.True(t, cfg.EarlyWake)
	assert.Equal(t, 10*time.Second, cfg.EmitInterval)
	assert.Equal(t, time.Minute, cfg.FullSweepInterval)
	assert.Equal(t, FlightRecorderConfig{Enabled: true, Before: 30 * time.Second, After: 30 * time.Second}, cfg.FlightRecorder)
	assert.Equal(t, 20, cfg.TopN)
	assert.Equal(t, 4096, cfg.MaxCgroups)
	assert.Equal(t, SyscallsConfig{Window: 100 * time.Millisecond, Period: 10 * time.Second}, cfg.Syscalls)
	assert.False(t, cfg.CgroupNetwork.Enabled, "every packet would pay for it")
	assert.False(t, cfg.sources().CgroupNetwork)
	assert.Nil(t, cfg.Reflex)
	for name, on := range enabledMetrics(cfg.Metrics) {
		assert.True(t, on, name)
	}
}

func TestConfigTakesEveryKey(t *testing.T) {
	cfg, err := loadConfig(t, "ebpf/all")
	require.NoError(t, err)
	second := component.MustNewIDWithName("reflex", "second")
	assert.Equal(t, 250*time.Millisecond, cfg.Interval)
	assert.Equal(t, 30*time.Second, cfg.EmitInterval)
	assert.False(t, cfg.EarlyWake)
	assert.Equal(t, time.Minute, cfg.FullSweepInterval)
	assert.Equal(t, 5, cfg.TopN)
	assert.Equal(t, 100, cfg.MaxCgroups)
	assert.Equal(t, "/sys/fs/cgroup/system.slice", cfg.CgroupRoot)
	assert.Equal(t, SyscallsConfig{Enabled: true, Window: 50 * time.Millisecond, Period: 5 * time.Second}, cfg.Syscalls)
	assert.True(t, cfg.CgroupNetwork.Enabled)
	assert.True(t, cfg.sources().CgroupNetwork)
	assert.Equal(t, &second, cfg.Reflex)
	assert.Equal(t, FlightRecorderConfig{Before: time.Minute, After: 10 * time.Second}, cfg.FlightRecorder)
	assert.False(t, enabledMetrics(cfg.Metrics)["system.process.exits"])
	assert.True(t, enabledMetrics(cfg.Metrics)["system.process.forks"])
}

func TestOnlyASlowReceiverIsWoken(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	assert.False(t, cfg.sources().EarlyWake, "it looks every 100 ms anyway")
	cfg.Interval = time.Second
	assert.True(t, cfg.sources().EarlyWake)
	cfg.EarlyWake = false
	assert.False(t, cfg.sources().EarlyWake)
}

func TestBadConfigIsRefusedNamingTheKey(t *testing.T) {
	for id, want := range map[string][]string{
		"ebpf/interval_too_short":            {"interval: 9ms is not between 10ms and 10s"},
		"ebpf/interval_too_long":             {"interval: 11s is not between 10ms and 10s"},
		"ebpf/emit_interval_too_short":       {"emit_interval: 99ms is neither 0 nor between interval (100ms) and 1h0m0s"},
		"ebpf/emit_interval_too_long":        {"emit_interval: 1h1m0s is neither 0 nor between interval (100ms) and 1h0m0s"},
		"ebpf/full_sweep_interval_too_short": {"full_sweep_interval: 99ms is not between interval (100ms) and 1h0m0s"},
		"ebpf/full_sweep_interval_too_long":  {"full_sweep_interval: 1h1m0s"},
		"ebpf/top_n_negative":                {"top_n: -1 is not between 0 and max_cgroups (4096)"},
		"ebpf/top_n_too_large":               {"top_n: 11 is not between 0 and max_cgroups (10)"},
		"ebpf/max_cgroups_too_small":         {"max_cgroups: 0 is not between 1 and 65536"},
		"ebpf/max_cgroups_too_large":         {"max_cgroups: 65537"},
		"ebpf/cgroup_root_relative":          {`cgroup_root: "sys/fs/cgroup" is not an absolute path`},
		"ebpf/syscalls_window_too_short":     {"syscalls::window: 9ms is not between 10ms and a twentieth of syscalls::period (500ms)"},
		"ebpf/syscalls_window_too_long":      {"syscalls::window: 600ms"},
		"ebpf/syscalls_period_too_short":     {"syscalls::period: 900ms is not between 1s and 1h0m0s"},
		"ebpf/syscalls_period_too_long":      {"syscalls::period: 2h0m0s"},
		"ebpf/several":                       {"interval: 1ms", "top_n: -1"},
		"ebpf/unknown_key":                   {"intervall"},
	} {
		t.Run(id, func(t *testing.T) {
			_, err := loadConfig(t, id)
			require.Error(t, err)
			for _, part := range want {
				assert.ErrorContains(t, err, part)
			}
		})
	}
}
