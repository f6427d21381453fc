// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// DefaultSocket is where reflexguard listens.
	DefaultSocket = "/run/reflex/guard.sock"
	// DefaultKillSwitch is the file whose presence switches all action off.
	DefaultKillSwitch = "/run/reflex/off"

	// MinTTL and MaxTTL bound the life of a lease between renewals.
	MinTTL = time.Second
	MaxTTL = 60 * time.Second

	// MaxReason bounds the reason of an order, in bytes.
	MaxReason = 256

	// DefaultMaxLeases is how many leases a guard holds at a time.
	DefaultMaxLeases = 8

	defaultMargin          = 16 << 20
	defaultGrantsPerMinute = 20
	// writeSpacing keeps a knob from being turned more often than 200 times a
	// second, tightenSpacing from being tightened faster than the last step can
	// show what it does.
	writeSpacing   = int64(5 * time.Millisecond)
	tightenSpacing = int64(time.Second)
	// recheckEvery is how often a held lease's target is compared with the
	// safelist again: processes move.
	recheckEvery = int64(time.Second)
	// handsOffAfter is how often a knob may be lost to another owner.
	handsOffAfter = 2
)

// Config says where and within which bounds a guard acts. The zero value is a
// guard over the machine's own cgroup v2 with the default bounds.
type Config struct {
	// Root is a cgroup v2 directory; "" finds the machine's.
	Root string
	// KillSwitch is a path; "" is [DefaultKillSwitch].
	KillSwitch string
	// Protect adds patterns to the safelist, in the syntax of path.Match. One
	// without a slash matches any component of a cgroup's path, one that starts
	// with a slash the path itself; everything below a match is protected too.
	Protect []string
	// Margin is kept free above memory that cannot be reclaimed, in bytes; 0 is
	// 16 MiB.
	Margin uint64
	// MaxLeases bounds the leases held at a time; 0 is [DefaultMaxLeases].
	MaxLeases int
	// GrantsPerMinute bounds new leases; 0 is 20.
	GrantsPerMinute int
	// Network bounds and spares what network actions do.
	Network Network
	// Logger receives what an operator should know; nil is silence.
	Logger *slog.Logger

	// OnPatrol is called after each patrol of Run, and before a lease's first
	// write: a watchdog's food. Due is the earliest deadline (CLOCK_BOOTTIME, ns)
	// of the leases held, 0 without any: a guard that is silent past it, or goes
	// on naming it, cannot end the lease.
	OnPatrol func(due int64)

	// Attributes replaces the kernel's extended attributes, for a Root that is
	// a plain directory tree. nil is the kernel's.
	Attributes cgroupfs.Attributes
	// Writes replaces the kernel's part in writing a file, for the same.
	Writes cgroupfs.Writes
	// calls is called before each call on the kernel, in tests.
	calls func(cgroupfs.Call) error
	// Clock replaces CLOCK_BOOTTIME (ns). nil is the kernel's.
	Clock func() int64
	// BootID replaces the kernel's boot id. "" is the kernel's.
	BootID string
}

// Validate names the first key that cannot be.
func (c *Config) Validate() error {
	for i, p := range c.Protect {
		if err := validPattern(p); err != nil {
			return fmt.Errorf("protect[%d]: %q: %w", i, p, err)
		}
	}
	if c.MaxLeases < 0 {
		return fmt.Errorf("max_leases: must not be negative, is %d", c.MaxLeases)
	}
	if c.GrantsPerMinute < 0 {
		return fmt.Errorf("grants_per_minute: must not be negative, is %d", c.GrantsPerMinute)
	}
	if err := c.Network.Validate(); err != nil {
		return fmt.Errorf("network: %w", err)
	}
	return nil
}

func (c *Config) complete() error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("guard configuration: %w", err)
	}
	if c.Root == "" {
		root, err := cgroupfs.FindRoot()
		if err != nil {
			return err
		}
		c.Root = root
	}
	if c.KillSwitch == "" {
		c.KillSwitch = DefaultKillSwitch
	}
	if c.Margin == 0 {
		c.Margin = defaultMargin
	}
	if c.MaxLeases == 0 {
		c.MaxLeases = DefaultMaxLeases
	}
	if c.GrantsPerMinute == 0 {
		c.GrantsPerMinute = defaultGrantsPerMinute
	}
	if c.Network.Aggregate == 0 {
		c.Network.Aggregate = DefaultAggregate
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnPatrol == nil {
		c.OnPatrol = func(int64) {}
	}
	if c.Clock == nil {
		c.Clock = boottime
	}
	if c.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return fmt.Errorf("read boot id: %w", err)
		}
		c.BootID = strings.TrimSpace(string(id))
	}
	return nil
}

// boottime returns CLOCK_BOOTTIME in ns: it counts while the machine sleeps.
func boottime() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME cannot be read: " + err.Error()) // every kernel since 2.6.39 has it
	}
	return ts.Nano()
}
