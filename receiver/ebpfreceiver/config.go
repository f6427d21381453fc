// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

const (
	defaultInterval          = 100 * time.Millisecond
	defaultFullSweepInterval = 10 * time.Second
	defaultTopN              = 20
	defaultMaxCgroups        = 4096

	longestInterval          = 10 * time.Second
	longestFullSweepInterval = time.Hour
	mostCgroups              = 65536
)

// Config is the configuration of the ebpf receiver.
type Config struct {
	// Interval is the time between two ticks, and between two deliveries to the
	// pipeline, 10 ms to 10 s; 100 ms by default. While the reflex extension is
	// watchful, ticks come every 10 ms; deliveries do not.
	Interval time.Duration `mapstructure:"interval"`
	// FullSweepInterval is the time between two deliveries that carry every
	// cgroup, at least Interval and at most 1 h; 10 s by default.
	FullSweepInterval time.Duration `mapstructure:"full_sweep_interval"`
	// TopN is how many cgroups the deliveries in between carry: those whose
	// memory usage, CPU time or stall time moved most; 20 by default.
	TopN int `mapstructure:"top_n"`
	// MaxCgroups bounds the cgroups seen; 4096 by default. What does not fit is
	// counted.
	MaxCgroups int `mapstructure:"max_cgroups"`
	// CgroupRoot is the cgroup v2 directory below which cgroups are seen. Empty,
	// the default, stands for the mount point found in /proc/self/mountinfo.
	CgroupRoot string `mapstructure:"cgroup_root"`
	// Reflex names the reflex extension. Unset, the one there is is used, and
	// where there is none the receiver works without.
	Reflex *component.ID `mapstructure:"reflex"`
	// Metrics switches metrics off one by one. The arc sees them regardless.
	Metrics metadata.MetricsConfig `mapstructure:"metrics"`
}

func createDefaultConfig() component.Config {
	return &Config{
		Interval:          defaultInterval,
		FullSweepInterval: defaultFullSweepInterval,
		TopN:              defaultTopN,
		MaxCgroups:        defaultMaxCgroups,
		Metrics:           metadata.DefaultMetricsConfig(),
	}
}

// sources says what is opened.
func (c *Config) sources() sources.Settings {
	return sources.Settings{CgroupRoot: c.CgroupRoot, MaxCgroups: c.MaxCgroups}
}

// Validate names every key whose value is refused.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.Interval < sampler.FastestInterval || c.Interval > longestInterval {
		refuse("interval: %v is not between %v and %v", c.Interval, sampler.FastestInterval, longestInterval)
	}
	if c.FullSweepInterval < c.Interval || c.FullSweepInterval > longestFullSweepInterval {
		refuse("full_sweep_interval: %v is not between interval (%v) and %v", c.FullSweepInterval, c.Interval, longestFullSweepInterval)
	}
	if c.MaxCgroups < 1 || c.MaxCgroups > mostCgroups {
		refuse("max_cgroups: %d is not between 1 and %d", c.MaxCgroups, mostCgroups)
	}
	if c.TopN < 0 || c.TopN > c.MaxCgroups {
		refuse("top_n: %d is not between 0 and max_cgroups (%d)", c.TopN, c.MaxCgroups)
	}
	if c.CgroupRoot != "" && !filepath.IsAbs(c.CgroupRoot) {
		refuse("cgroup_root: %q is not an absolute path", c.CgroupRoot)
	}
	return errors.Join(errs...)
}
