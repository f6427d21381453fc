// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// packets adds up what packets were judged, over all guards that came and went: each
// counts from its start.
type packets struct {
	mu          sync.Mutex
	last, total map[guard.NetworkCount]uint64 // by action and reason
}

// take takes what a guard has counted.
func (p *packets) take(counts []guard.NetworkCount) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total == nil {
		p.last, p.total = map[guard.NetworkCount]uint64{}, map[guard.NetworkCount]uint64{}
	}
	for _, c := range counts {
		key := guard.NetworkCount{Action: c.Action, Reason: c.Reason}
		if c.Packets < p.last[key] {
			p.last[key] = 0 // another guard
		}
		p.total[key] += c.Packets - p.last[key]
		p.last[key] = c.Packets
	}
}

// observe reports them.
func (p *packets) observe(_ context.Context, o metric.Int64Observer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, n := range p.total {
		o.Observe(int64(n), metric.WithAttributes( //nolint:gosec // packets
			attribute.String("reflex.action", key.Action), attribute.String("reflex.reason", key.Reason)))
	}
	return nil
}
