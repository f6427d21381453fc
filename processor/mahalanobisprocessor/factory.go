// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

// NewFactory returns the factory of the mahalanobis processor.
func NewFactory() processor.Factory {
	f := &factory{common: map[*Config]*shared{}}
	return processor.NewFactory(metadata.Type, createDefaultConfig,
		processor.WithMetrics(f.createMetrics, metadata.MetricsStability))
}

type factory struct {
	mu     sync.Mutex
	common map[*Config]*shared
}

func (f *factory) createMetrics(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics) (processor.Metrics, error) {
	config := cfg.(*Config)
	p, err := newProcessor(set, config)
	if err != nil {
		return nil, err
	}
	p.shared = f.share(config, set.ID)
	return processorhelper.NewMetrics(ctx, set, cfg, next, p.process,
		processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true}),
		processorhelper.WithStart(p.start), processorhelper.WithShutdown(p.shutdown))
}

// share returns what the instances of config share. The Collector makes one
// instance per pipeline.
func (f *factory) share(config *Config, id component.ID) *shared {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.common[config]
	if !ok {
		s = &shared{config: config, id: id, members: map[*mahalanobis]struct{}{}, forget: func() { f.forget(config) }}
		if config.Preset == reading.Node {
			s.registration = &registration{source: config.Source, owner: id.String()}
		}
		f.common[config] = s
	}
	return s
}

func (f *factory) forget(config *Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.common, config)
}
