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
	defaultEmitInterval      = 10 * time.Second
	defaultFullSweepInterval = time.Minute
	defaultRecorded          = 30 * time.Second
	defaultTopN              = 20
	defaultMaxCgroups        = 4096
	defaultSyscallsWindow    = 100 * time.Millisecond
	defaultSyscallsPeriod    = 10 * time.Second

	longestInterval          = 10 * time.Second
	longestEmitInterval      = time.Hour
	longestFullSweepInterval = time.Hour
	mostCgroups              = 65536
	longestRecorded          = 2 * time.Minute
	shortestSyscallsWindow   = 10 * time.Millisecond
	shortestSyscallsPeriod   = time.Second
	longestSyscallsPeriod    = time.Hour
	// syscallsShare is how many times as long as its window a period must be.
	syscallsShare = 20
)

// Config is the configuration of the ebpf receiver.
type Config struct {
	// Interval is the time between two ticks, and between two deliveries to the
	// pipeline, 10 ms to 10 s; 100 ms by default. While the reflex extension is
	// watchful, ticks come every 10 ms; deliveries do not.
	Interval time.Duration `mapstructure:"interval"`
	// EmitInterval is the time between two deliveries while the reflex extension is
	// not watchful: its arc sees every tick, a backend wants no ten a second of a
	// machine at which nothing happens. At least Interval and at most 1 h, or 0 for
	// every tick; 10 s by default. Without the extension every tick is delivered.
	EmitInterval time.Duration `mapstructure:"emit_interval"`
	// EarlyWake lets stalls (PSI), OOM kills, direct reclaim and surges of forks
	// wake a sampler whose Interval is longer than 100 ms: a tick and a delivery
	// at once, and ticks every 100 ms for 5 s; on by default.
	EarlyWake bool `mapstructure:"early_wake"`
	// FullSweepInterval is the time between two deliveries that carry every
	// cgroup, at least Interval and at most 1 h; 1 min by default.
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
	// Syscalls says whether and when system calls are counted.
	Syscalls SyscallsConfig `mapstructure:"syscalls"`
	// CgroupNetwork says whether the network traffic of cgroups is counted.
	CgroupNetwork CgroupNetworkConfig `mapstructure:"cgroup_network"`
	// FlightRecorder says what is delivered in full around an anomaly.
	FlightRecorder FlightRecorderConfig `mapstructure:"flight_recorder"`
	// Reflex names the reflex extension. Unset, the one there is is used, and
	// where there is none the receiver works without.
	Reflex *component.ID `mapstructure:"reflex"`
	// Metrics switches metrics off one by one. The arc sees them regardless.
	Metrics metadata.MetricsConfig `mapstructure:"metrics"`
}

// SyscallsConfig is the duty cycle in which system calls are counted.
type SyscallsConfig struct {
	// Enabled switches it on; off by default.
	Enabled bool `mapstructure:"enabled"`
	// Window is how long a count takes, at least 10 ms and at most a twentieth
	// of Period; 100 ms by default. While it lasts every system call of the
	// machine costs about 80 ns more.
	Window time.Duration `mapstructure:"window"`
	// Period is the time from the beginning of a count to the next, 1 s to 1 h;
	// 10 s by default.
	Period time.Duration `mapstructure:"period"`
}

// CgroupNetworkConfig is how bytes, packets and connections of cgroups are counted.
type CgroupNetworkConfig struct {
	// Enabled switches it on; off by default. While it is on every packet that a
	// socket of the machine sends or receives pays for it, and the collector needs
	// CAP_NET_ADMIN.
	Enabled bool `mapstructure:"enabled"`
}

// FlightRecorderConfig is what is remembered of calm, to be delivered should an anomaly
// follow. There is no recorder without the extension or an EmitInterval longer than
// Interval: every tick is delivered then.
type FlightRecorderConfig struct {
	// Enabled switches it on; on by default.
	Enabled bool `mapstructure:"enabled"`
	// Before and After are how much from before an anomaly and from after it is
	// delivered in full, 0 to 2 min each and not both 0; 30 s by default.
	Before time.Duration `mapstructure:"before"`
	After  time.Duration `mapstructure:"after"`
}

func createDefaultConfig() component.Config {
	return &Config{
		Interval:          defaultInterval,
		EmitInterval:      defaultEmitInterval,
		EarlyWake:         true,
		FullSweepInterval: defaultFullSweepInterval,
		TopN:              defaultTopN,
		MaxCgroups:        defaultMaxCgroups,
		FlightRecorder:    FlightRecorderConfig{Enabled: true, Before: defaultRecorded, After: defaultRecorded},
		Syscalls:          SyscallsConfig{Window: defaultSyscallsWindow, Period: defaultSyscallsPeriod},
		Metrics:           metadata.DefaultMetricsConfig(),
	}
}

// sources says what is opened.
func (c *Config) sources() sources.Settings {
	set := sources.Settings{
		CgroupRoot: c.CgroupRoot, MaxCgroups: c.MaxCgroups, CgroupNetwork: c.CgroupNetwork.Enabled,
		EarlyWake: c.EarlyWake && c.Interval > sampler.WakeInterval,
	}
	if c.Syscalls.Enabled {
		set.Syscalls = sources.DutyCycle{Window: c.Syscalls.Window, Period: c.Syscalls.Period}
	}
	return set
}

// Validate names every key whose value is refused.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if c.Interval < sampler.FastestInterval || c.Interval > longestInterval {
		refuse("interval: %v is not between %v and %v", c.Interval, sampler.FastestInterval, longestInterval)
	}
	if c.EmitInterval != 0 && (c.EmitInterval < c.Interval || c.EmitInterval > longestEmitInterval) {
		refuse("emit_interval: %v is neither 0 nor between interval (%v) and %v", c.EmitInterval, c.Interval, longestEmitInterval)
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
	if r := c.FlightRecorder; r.Enabled {
		if r.Before < 0 || r.Before > longestRecorded {
			refuse("flight_recorder::before: %v is not between 0 and %v", r.Before, longestRecorded)
		}
		if r.After < 0 || r.After > longestRecorded {
			refuse("flight_recorder::after: %v is not between 0 and %v", r.After, longestRecorded)
		}
		if r.Before == 0 && r.After == 0 {
			refuse("flight_recorder: before and after are both 0: set enabled: false")
		}
	}
	if c.CgroupRoot != "" && !filepath.IsAbs(c.CgroupRoot) {
		refuse("cgroup_root: %q is not an absolute path", c.CgroupRoot)
	}
	if p := c.Syscalls.Period; p < shortestSyscallsPeriod || p > longestSyscallsPeriod {
		refuse("syscalls::period: %v is not between %v and %v", p, shortestSyscallsPeriod, longestSyscallsPeriod)
	}
	if w, most := c.Syscalls.Window, c.Syscalls.Period/syscallsShare; w < shortestSyscallsWindow || w > most {
		refuse("syscalls::window: %v is not between %v and a twentieth of syscalls::period (%v)", w, shortestSyscallsWindow, most)
	}
	return errors.Join(errs...)
}
