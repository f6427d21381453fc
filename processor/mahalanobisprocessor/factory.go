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

	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

// NewFactory returns the factory of the mahalanobis processor.
func NewFactory() processor.Factory {
	f := &factory{registrations: map[*Config]*registration{}}
	return processor.NewFactory(metadata.Type, createDefaultConfig,
		processor.WithMetrics(f.createMetrics, metadata.MetricsStability))
}

type factory struct {
	mu            sync.Mutex
	registrations map[*Config]*registration
}

func (f *factory) createMetrics(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics) (processor.Metrics, error) {
	config := cfg.(*Config)
	p, err := newProcessor(set, config)
	if err != nil {
		return nil, err
	}
	if config.Preset == presetNode {
		p.registration = f.share(config, set.ID.String())
		p.forget = func() { f.forget(config) }
	}
	return processorhelper.NewMetrics(ctx, set, cfg, next, p.process,
		processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true}),
		processorhelper.WithStart(p.start), processorhelper.WithShutdown(p.shutdown))
}

// share returns the registration of config. The Collector makes one instance per
// pipeline; a source has one judge.
func (f *factory) share(config *Config, owner string) *registration {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.registrations[config]
	if !ok {
		r = &registration{source: config.Source, owner: owner, engine: detect.NewEngine(config.detection(nil))}
		f.registrations[config] = r
	}
	return r
}

func (f *factory) forget(config *Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.registrations, config)
}
