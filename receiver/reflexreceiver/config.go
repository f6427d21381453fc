// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

const (
	defaultMetricsInterval = 10 * time.Second
	minMetricsInterval     = 100 * time.Millisecond
	defaultReplayRate      = 500
	defaultPatience        = time.Hour
	mostReplayRate         = 1_000_000
)

// Config configures the receiver.
type Config struct {
	// Reflex names the reflex extension whose journal is told. Without it the
	// one extension that keeps a journal is used.
	Reflex *component.ID `mapstructure:"reflex"`
	// MetricsInterval is the time between two reports of the metrics, at least
	// 100 ms. The default is 10 s.
	MetricsInterval time.Duration `mapstructure:"metrics_interval"`

	// ReplayRate bounds the records a second that a signal hands over when many are
	// waiting, as after an outage. The default is 500.
	ReplayRate int `mapstructure:"replay_rate"`
	// RefusalPatience is how long records that the next component refuses for good are
	// handed over again before they are skipped. The default is 1 h, 0 skips at once.
	RefusalPatience time.Duration `mapstructure:"refusal_patience"`
	// The metrics can be switched off, or less divided.
	metadata.MetricsBuilderConfig `mapstructure:",squash"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// Validate refuses what cannot work.
func (c *Config) Validate() error {
	if c.MetricsInterval < minMetricsInterval {
		return fmt.Errorf("metrics_interval must be at least %s, not %s", minMetricsInterval, c.MetricsInterval)
	}
	if c.RefusalPatience < 0 {
		return fmt.Errorf("refusal_patience must not be negative, is %s", c.RefusalPatience)
	}
	if c.ReplayRate < 1 || c.ReplayRate > mostReplayRate {
		return fmt.Errorf("replay_rate must be 1 to %d records a second, not %d", mostReplayRate, c.ReplayRate)
	}
	return nil
}
