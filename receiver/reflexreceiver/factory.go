// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

// NewFactory returns the factory of the reflex receiver.
func NewFactory() receiver.Factory {
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithLogs(createLogs, metadata.LogsStability),
		receiver.WithMetrics(createMetrics, metadata.MetricsStability),
		receiver.WithTraces(createTraces, metadata.TracesStability),
	)
}

func createDefaultConfig() component.Config {
	return &Config{MetricsInterval: defaultMetricsInterval, ReplayRate: defaultReplayRate, RefusalPatience: defaultPatience, MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig()}
}

func createLogs(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
	r, err := instances.get(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	r.logs = next
	return r, nil
}

func createMetrics(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
	r, err := instances.get(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	r.metrics = next
	return r, nil
}

func createTraces(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Traces) (receiver.Traces, error) {
	r, err := instances.get(cfg.(*Config), set)
	if err != nil {
		return nil, err
	}
	r.traces = next
	return r, nil
}

// instances makes one receiver of what a configuration names once, however many
// pipelines use it: they share one reader of the journal per signal. The
// collector hands the same *Config to every Create call of one component.
var instances = shared{byConfig: map[*Config]*reflexReceiver{}}

type shared struct {
	mu       sync.Mutex
	byConfig map[*Config]*reflexReceiver
}

func (s *shared) get(cfg *Config, set receiver.Settings) (*reflexReceiver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.byConfig[cfg]; ok {
		return r, nil
	}
	r, err := newReceiver(cfg, set)
	if err != nil {
		return nil, err
	}
	s.byConfig[cfg] = r
	return r, nil
}

func (s *shared) forget(cfg *Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byConfig, cfg)
}
