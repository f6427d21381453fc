// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

const (
	modeObserve = "observe"
	modeEnforce = "enforce"

	guardEmbedded = "embedded"
	guardNone     = "none"
	// defaultGuard is where reflexguard listens by default.
	defaultGuard = "/run/reflex/guard.sock"

	defaultEndpoint = "127.0.0.1:13134"
	// DefaultOperatorSocket is where operators are listened to by default.
	DefaultOperatorSocket = "/run/otelcol-reflex/operator.sock"
)

// Config is the configuration of the reflex extension.
type Config struct {
	// Mode is "observe" (decide, check and record, write nothing) or "enforce".
	Mode string `mapstructure:"mode"`
	// Guard is the socket of reflexguard, "embedded" for a guard inside this
	// process, or "none".
	Guard string `mapstructure:"guard"`
	// CgroupRoot is the cgroup v2 directory that culprits are inspected in;
	// empty finds the machine's.
	CgroupRoot string `mapstructure:"cgroup_root"`
	// Safelist holds patterns of cgroup paths that are never acted upon.
	Safelist []string `mapstructure:"safelist"`
	// Network is for an embedded guard.
	Network  NetworkConfig  `mapstructure:"network"`
	Status   StatusConfig   `mapstructure:"status"`
	Operator OperatorConfig `mapstructure:"operator"`
	Journal  JournalConfig  `mapstructure:"journal"`
	Policy   PolicyConfig   `mapstructure:"policy"`
	Lease    LeaseConfig    `mapstructure:"lease"`
	// Webhooks are told of episodes.
	Webhooks []WebhookConfig `mapstructure:"webhooks"`
}

// StatusConfig says where the status page is served.
type StatusConfig struct {
	// Endpoint is a loopback address and port; empty serves nothing.
	Endpoint string `mapstructure:"endpoint"`
}

// OperatorConfig says where operators give orders.
type OperatorConfig struct {
	// Socket is the absolute path of a unix socket that root and the collector's
	// user may use; empty takes no orders.
	Socket string `mapstructure:"socket"`
}

// JournalConfig bounds the journal.
type JournalConfig struct {
	// Capacity is the number of records kept in memory.
	Capacity int `mapstructure:"capacity"`
	// File is the absolute path of the file in which the journal outlives the
	// collector; empty keeps it in memory only. MaxBytes and MaxAge bound the
	// records in it.
	File     string        `mapstructure:"file"`
	MaxBytes int64         `mapstructure:"max_bytes"`
	MaxAge   time.Duration `mapstructure:"max_age"`
}

// PolicyConfig holds the numbers of the policy.
type PolicyConfig struct {
	// MaxLevel is the highest level, 1 to 5.
	MaxLevel int `mapstructure:"max_level"`
	// Resources are those that are judged.
	Resources []string `mapstructure:"resources"`
	// Enforce are those of them that mode enforce acts upon; the others are
	// observed.
	Enforce []string `mapstructure:"enforce"`
	// Horizon is how near a projected exhaustion must be to be harm.
	Horizon time.Duration `mapstructure:"horizon"`
	// StallBudget is the share of time tasks may stall on memory (0 to 1).
	StallBudget float64 `mapstructure:"stall_budget"`
	// CPUStallBudget and IOStallBudget are the shares of time that others may wait
	// for CPU or I/O beyond what is usual for them (0 to 1).
	CPUStallBudget float64 `mapstructure:"cpu_stall_budget"`
	IOStallBudget  float64 `mapstructure:"io_stall_budget"`
	// DropBudget is the packets a second that may be dropped beyond what is usual.
	DropBudget float64 `mapstructure:"drop_budget"`
	// SoftIRQBudget is the CPUs that may go into software interrupts beyond what is
	// usual.
	SoftIRQBudget float64 `mapstructure:"softirq_budget"`
	// RetransmitBudget is the TCP segments a second that may be sent again beyond what
	// is usual, under a surge that nobody answers.
	RetransmitBudget float64 `mapstructure:"retransmit_budget"`
	// MinPackets is the packets a second beyond what is usual that are a flood.
	MinPackets float64 `mapstructure:"min_packets"`
	// Sustain is how long a rising stall or flood must last.
	Sustain time.Duration `mapstructure:"sustain"`
	// StartupGrace is the age below which growth is no harm.
	StartupGrace time.Duration `mapstructure:"startup_grace"`
	// Margin is how many times faster than the runner-up a culprit grows.
	Margin float64 `mapstructure:"margin"`
	// BuyTime is how far a ceiling moves exhaustion out.
	BuyTime time.Duration `mapstructure:"buy_time"`
	// GrowthBudget is a ceiling's least growth in bytes a second at first, and where no
	// limit is known.
	GrowthBudget float64 `mapstructure:"growth_budget"`
	// ReleaseAfter is how long a contained cgroup must not press.
	ReleaseAfter time.Duration `mapstructure:"release_after"`
	// Ending applies when headroom is spent or no progress is made: "release",
	// "hold" or "freeze".
	Ending string `mapstructure:"ending"`
	// NoProgress is for how long a contained cgroup may do nothing but wait for
	// memory, or less than it would unprotected, before the ending applies.
	NoProgress time.Duration `mapstructure:"no_progress"`
	// CloseAfter is how long scores stay below the limit before an episode
	// closes, CoolOff how long learning stays frozen after it.
	CloseAfter time.Duration `mapstructure:"close_after"`
	CoolOff    time.Duration `mapstructure:"cool_off"`
	// Habituation is after how long an anomaly that harms nobody may be learned.
	Habituation time.Duration `mapstructure:"habituation"`
	// MaxLeases bounds the leases held at once, MaxShare the share of the node's
	// cgroups they are on, ActionsPerMinute those begun within a minute.
	MaxLeases        int     `mapstructure:"max_leases"`
	MaxShare         float64 `mapstructure:"max_share"`
	ActionsPerMinute int     `mapstructure:"actions_per_minute"`
}

// LeaseConfig holds the times of leases.
type LeaseConfig struct {
	// TTL is the life of a lease that is not renewed, Renew how often it is.
	TTL   time.Duration `mapstructure:"ttl"`
	Renew time.Duration `mapstructure:"renew"`
}

func createDefaultConfig() component.Config {
	d := policy.DefaultConfig()
	return &Config{
		Mode:     modeObserve,
		Guard:    defaultGuard,
		Network:  defaultNetwork(),
		Status:   StatusConfig{Endpoint: defaultEndpoint},
		Operator: OperatorConfig{Socket: DefaultOperatorSocket},
		Journal:  JournalConfig{Capacity: 4096, MaxBytes: 16 << 20, MaxAge: 7 * 24 * time.Hour},
		Policy: PolicyConfig{
			MaxLevel:         d.MaxLevel,
			Resources:        d.Resources.Names(),
			Enforce:          []string{policy.Memory.String()},
			CPUStallBudget:   d.CPUStallBudget,
			IOStallBudget:    d.IOStallBudget,
			DropBudget:       d.DropBudget,
			SoftIRQBudget:    d.SoftIRQBudget,
			RetransmitBudget: d.RetransmitBudget,
			MinPackets:       d.MinPackets,
			Sustain:          d.Sustain,
			NoProgress:       d.NoProgress,
			MaxShare:         d.MaxShare,
			ActionsPerMinute: d.ActionsPerMinute,
			Horizon:          d.Horizon,
			StallBudget:      d.StallBudget,
			StartupGrace:     d.StartupGrace,
			Margin:           d.Margin,
			BuyTime:          d.BuyTime,
			GrowthBudget:     d.GrowthBudget,
			ReleaseAfter:     d.ReleaseAfter,
			Ending:           d.Ending.String(),
			CloseAfter:       d.CloseAfter,
			CoolOff:          d.CoolOff,
			Habituation:      d.Habituation,
			MaxLeases:        d.MaxLeases,
		},
		Lease: LeaseConfig{TTL: d.TTL, Renew: d.Renew},
	}
}

// Validate refuses what cannot be meant, naming the key.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if c.Mode != modeObserve && c.Mode != modeEnforce {
		refuse("mode", "must be %s or %s, is %q", modeObserve, modeEnforce, c.Mode)
	}
	switch {
	case c.Guard == guardNone && c.Mode == modeEnforce:
		refuse("guard", "%s cannot carry out orders: set mode to %s, or guard to a socket or %s", guardNone, modeObserve, guardEmbedded)
	case c.Guard != guardNone && c.Guard != guardEmbedded && !filepath.IsAbs(c.Guard):
		refuse("guard", "must be the absolute path of a socket, %s or %s, is %q", guardEmbedded, guardNone, c.Guard)
	}
	if c.CgroupRoot != "" && !filepath.IsAbs(c.CgroupRoot) {
		refuse("cgroup_root", "must be an absolute path, is %q", c.CgroupRoot)
	}
	for i, p := range c.Safelist {
		if _, err := policy.NewSafelist([]string{p}, ""); err != nil {
			refuse(fmt.Sprintf("safelist[%d]", i), "%v", err)
		}
	}
	if err := loopback(c.Status.Endpoint); err != nil {
		refuse("status::endpoint", "%v", err)
	}
	if s := c.Operator.Socket; s != "" && !filepath.IsAbs(s) {
		refuse("operator::socket", "must be an absolute path, is %q", s)
	}
	if c.Journal.Capacity < 16 || c.Journal.Capacity > 1<<20 {
		refuse("journal::capacity", "must be 16 to %d, is %d", 1<<20, c.Journal.Capacity)
	}
	if f := c.Journal.File; f != "" && !filepath.IsAbs(f) {
		refuse("journal::file", "must be an absolute path, is %q", f)
	}
	if b := c.Journal.MaxBytes; b < 64<<10 || b > 1<<30 {
		refuse("journal::max_bytes", "must be %d to %d, is %d", 64<<10, 1<<30, b)
	}
	if a := c.Journal.MaxAge; a < time.Hour || a > 366*24*time.Hour {
		refuse("journal::max_age", "must be 1h to 366 days, is %s", a)
	}
	if err := c.validateNetwork(); err != nil {
		errs = append(errs, err)
	}
	c.Policy.validate(refuse)
	if n := len(c.Webhooks); n > mostWebhooks {
		refuse("webhooks", "may be %d, are %d", mostWebhooks, n)
	}
	for i := range c.Webhooks {
		c.Webhooks[i].validate(fmt.Sprintf("webhooks[%d]", i), refuse)
	}
	if c.Lease.TTL < time.Second || c.Lease.TTL > time.Minute {
		refuse("lease::ttl", "must be 1s to 60s, is %s", c.Lease.TTL)
	}
	if c.Lease.Renew <= 0 || c.Lease.Renew >= c.Lease.TTL/2 {
		refuse("lease::renew", "must be more than 0 and less than half of lease::ttl (%s), is %s", c.Lease.TTL, c.Lease.Renew)
	}
	return errors.Join(errs...)
}

func (c *PolicyConfig) validate(refuse func(key, format string, args ...any)) {
	for _, d := range []struct {
		key         string
		value       time.Duration
		least, most time.Duration
	}{
		{"policy::horizon", c.Horizon, time.Second, time.Hour},
		{"policy::startup_grace", c.StartupGrace, 0, 24 * time.Hour},
		{"policy::buy_time", c.BuyTime, 10 * time.Second, 24 * time.Hour},
		{"policy::sustain", c.Sustain, 100 * time.Millisecond, time.Minute},
		{"policy::no_progress", c.NoProgress, time.Second, time.Hour},
		{"policy::release_after", c.ReleaseAfter, 2 * time.Second, time.Hour},
		{"policy::close_after", c.CloseAfter, time.Second, time.Hour},
		{"policy::cool_off", c.CoolOff, 0, time.Hour},
		{"policy::habituation", c.Habituation, time.Minute, 24 * time.Hour},
	} {
		if d.value < d.least || d.value > d.most {
			refuse(d.key, "must be %s to %s, is %s", d.least, d.most, d.value)
		}
	}
	for _, share := range []struct {
		key   string
		value float64
	}{
		{"policy::stall_budget", c.StallBudget},
		{"policy::cpu_stall_budget", c.CPUStallBudget},
		{"policy::io_stall_budget", c.IOStallBudget},
	} {
		if !(share.value > 0 && share.value <= 1) {
			refuse(share.key, "must be a share of time above 0 and up to 1, is %g", share.value)
		}
	}
	if c.MaxLevel < policy.LevelWatchful || c.MaxLevel > policy.LevelQuarantine {
		refuse("policy::max_level", "must be %d to %d, is %d", policy.LevelWatchful, policy.LevelQuarantine, c.MaxLevel)
	}
	if len(c.Resources) == 0 {
		refuse("policy::resources", "is empty: set max_level to %d to act upon nothing", policy.LevelWatchful)
	}
	for i, name := range c.Resources {
		if _, err := policy.ParseResource(name); err != nil {
			refuse(fmt.Sprintf("policy::resources[%d]", i), "%v", err)
		}
	}
	for i, name := range c.Enforce {
		if _, err := policy.ParseResource(name); err != nil {
			refuse(fmt.Sprintf("policy::enforce[%d]", i), "%v", err)
		} else if !slices.Contains(c.Resources, name) {
			refuse(fmt.Sprintf("policy::enforce[%d]", i), "%q is not among policy::resources, so nothing would be done about it", name)
		}
	}
	if !(c.DropBudget >= 1 && c.DropBudget <= 1e9) {
		refuse("policy::drop_budget", "must be 1 to 1e9 packets a second, is %g", c.DropBudget)
	}
	if !(c.SoftIRQBudget >= 0.01 && c.SoftIRQBudget <= 1000) {
		refuse("policy::softirq_budget", "must be 0.01 to 1000 CPUs, is %g", c.SoftIRQBudget)
	}
	if !(c.MinPackets >= 100 && c.MinPackets <= 1e9) {
		refuse("policy::min_packets", "must be 100 to 1e9 packets a second, is %g", c.MinPackets)
	}
	if !(c.RetransmitBudget >= 1 && c.RetransmitBudget <= 1e9) {
		refuse("policy::retransmit_budget", "must be 1 to 1e9 segments a second, is %g", c.RetransmitBudget)
	}
	if !(c.MaxShare >= 0 && c.MaxShare <= 1) {
		refuse("policy::max_share", "must be a share of cgroups from 0 to 1, is %g", c.MaxShare)
	}
	if c.ActionsPerMinute < 1 || c.ActionsPerMinute > 60 {
		refuse("policy::actions_per_minute", "must be 1 to 60, is %d", c.ActionsPerMinute)
	}
	if !(c.Margin >= 1 && c.Margin <= 100) {
		refuse("policy::margin", "must be 1 to 100, is %g", c.Margin)
	}
	if !(c.GrowthBudget >= 4096 && c.GrowthBudget <= 1e12) {
		refuse("policy::growth_budget", "must be 4096 to 1e12 bytes a second, is %g", c.GrowthBudget)
	}
	if _, err := policy.ParseEnding(c.Ending); err != nil {
		refuse("policy::ending", "%v", err)
	}
	if c.MaxLeases < 1 || c.MaxLeases > guard.DefaultMaxLeases { // the guard refuses more
		refuse("policy::max_leases", "must be 1 to %d, is %d", guard.DefaultMaxLeases, c.MaxLeases)
	}
}

// rules turns the configuration into the policy's. It was validated.
func (c *Config) rules() policy.Config {
	r := policy.DefaultConfig()
	r.Observe = c.Mode != modeEnforce
	r.Horizon, r.StallBudget, r.StartupGrace = c.Policy.Horizon, c.Policy.StallBudget, c.Policy.StartupGrace
	r.Margin, r.BuyTime, r.GrowthBudget = c.Policy.Margin, c.Policy.BuyTime, c.Policy.GrowthBudget
	r.ReleaseAfter, r.CloseAfter, r.CoolOff = c.Policy.ReleaseAfter, c.Policy.CloseAfter, c.Policy.CoolOff
	r.Habituation, r.MaxLeases = c.Policy.Habituation, c.Policy.MaxLeases
	r.Ending, _ = policy.ParseEnding(c.Policy.Ending)
	r.MaxLevel, r.Sustain, r.NoProgress = c.Policy.MaxLevel, c.Policy.Sustain, c.Policy.NoProgress
	r.CPUStallBudget, r.IOStallBudget, r.DropBudget = c.Policy.CPUStallBudget, c.Policy.IOStallBudget, c.Policy.DropBudget
	r.SoftIRQBudget, r.RetransmitBudget, r.MinPackets = c.Policy.SoftIRQBudget, c.Policy.RetransmitBudget, c.Policy.MinPackets
	r.MaxShare, r.ActionsPerMinute = c.Policy.MaxShare, c.Policy.ActionsPerMinute
	r.Resources, r.Enforced = resources(c.Policy.Resources), resources(c.Policy.Enforce)
	r.TTL, r.Renew = c.Lease.TTL, c.Lease.Renew
	return r
}

// resources is a set of names, which were validated.
func resources(names []string) (set policy.Resources) {
	for _, name := range names {
		if one, err := policy.ParseResource(name); err == nil {
			set = set.With(one)
		}
	}
	return set
}

// nodeTasks is how many tasks the machine can hold, 0 where it does not say.
func nodeTasks(proc string) uint64 {
	most := uint64(0)
	for _, name := range []string{"pid_max", "threads-max"} {
		text, err := os.ReadFile(filepath.Join(proc, "sys/kernel", name))
		if v, convErr := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && convErr == nil && (most == 0 || v < most) {
			most = v
		}
	}
	return most
}

// loopback accepts an address that only this machine reaches. Names other than
// localhost are refused: nothing here waits for a name service.
func loopback(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return fmt.Errorf("must be host:port, is %q", endpoint)
	}
	if port == "" {
		return fmt.Errorf("needs a port, is %q", endpoint)
	}
	if isLoopback(host) {
		return nil
	}
	return fmt.Errorf("must be a loopback address such as %s, is %q", defaultEndpoint, endpoint)
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
