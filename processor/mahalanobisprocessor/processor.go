// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

const (
	attributeSource   = "reflex.source"
	attributeSequence = "reflex.sequence"
	attributeCgroup   = "reflex.cgroup.id"
)

// mahalanobis is one instance of the processor, in one pipeline.
type mahalanobis struct {
	config       *Config
	telemetry    *metadata.TelemetryBuilder
	registration *registration // nil unless preset node
	forget       func()
	meeting      arc.Meeting // nil without an extension
	started      bool

	mu      sync.Mutex // streams
	streams *streams
}

func newProcessor(set processor.Settings, config *Config) (*mahalanobis, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &mahalanobis{config: config, telemetry: telemetry, streams: newStreams(config, time.Now)}, nil
}

func (p *mahalanobis) start(_ context.Context, host component.Host) error {
	meeting, err := findMeeting(host.GetExtensions(), p.config.Reflex)
	if err != nil {
		return err
	}
	p.meeting = meeting
	if meeting != nil && p.registration != nil {
		if err := p.registration.start(meeting); err != nil {
			return err
		}
		p.started = true
	}
	return nil
}

func (p *mahalanobis) shutdown(context.Context) error {
	if p.started {
		p.started = false
		p.registration.stop()
	}
	if p.forget != nil {
		p.forget()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.streams.clear(); n > 0 {
		p.telemetry.ProcessorMahalanobisStreams.Add(context.Background(), -int64(n)) //nolint:contextcheck // counted whatever becomes of the caller
	}
	p.telemetry.Shutdown()
	return nil
}

// process adds scores to md and changes nothing else, but that the sequence
// number of a tick, which is for this processor only, is taken off.
func (p *mahalanobis) process(ctx context.Context, md pmetric.Metrics) (pmetric.Metrics, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams.begin()
	var j arc.Judgement
	for i := range md.ResourceMetrics().Len() {
		rm := md.ResourceMetrics().At(i)
		if _, ok := rm.Resource().Attributes().Get(attributeCgroup); ok || scored(rm) {
			continue
		}
		sequence, at, tick := p.tick(rm)
		if tick && p.started {
			if !p.registration.judgement(sequence, &j) {
				p.telemetry.ProcessorMahalanobisAnnotationsMissed.Add(ctx, 1)
				continue
			}
			p.annotate(ctx, rm, &j, at)
			continue
		}
		p.streams.read(i, rm)
	}
	var control arc.Control
	if p.meeting != nil {
		control = foreign(p.meeting.Control())
	}
	opened, dropped := p.streams.judge(control, &j, func(resource int, at pcommon.Timestamp) {
		p.annotate(ctx, md.ResourceMetrics().At(resource), &j, at)
	})
	if opened != 0 {
		p.telemetry.ProcessorMahalanobisStreams.Add(ctx, int64(opened))
	}
	if dropped != 0 {
		p.telemetry.ProcessorMahalanobisStreamsDropped.Add(ctx, int64(dropped))
	}
	return md, nil
}

// tick finds the scope of a tick of the source this processor judges, takes its
// sequence number off, and returns it with the time of the tick.
func (p *mahalanobis) tick(rm pmetric.ResourceMetrics) (sequence uint64, at pcommon.Timestamp, ok bool) {
	if p.registration == nil {
		return 0, 0, false
	}
	for i := range rm.ScopeMetrics().Len() {
		sm := rm.ScopeMetrics().At(i)
		attributes := sm.Scope().Attributes()
		source, has := attributes.Get(attributeSource)
		if !has || source.AsString() != p.config.Source {
			continue
		}
		number, has := attributes.Get(attributeSequence)
		if !has {
			continue
		}
		sequence, at, ok = uint64(number.Int()), firstTimestamp(sm), true
		attributes.Remove(attributeSequence)
	}
	return sequence, at, ok
}

func (p *mahalanobis) annotate(ctx context.Context, rm pmetric.ResourceMetrics, j *arc.Judgement, at pcommon.Timestamp) {
	if !j.Ready {
		return
	}
	p.telemetry.ProcessorMahalanobisJudgements.Add(ctx, 1)
	if j.Anomalous {
		p.telemetry.ProcessorMahalanobisAnomalies.Add(ctx, 1)
	}
	appendScore(rm, j, at)
}

// foreign is the part of the policy's word that makes sense for streams that do
// not come over the arc: their instants are times of day, those of the word are
// not.
func foreign(c arc.Control) arc.Control {
	out := arc.Control{Harm: c.Harm, LeaseHeld: c.LeaseHeld}
	if c.FrozenUntil == arc.Forever {
		out.FrozenUntil = math.MaxInt64
	}
	return out
}
