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
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/reading"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

// mahalanobis is one instance of the processor, in one pipeline.
type mahalanobis struct {
	config    *Config
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	scores    scoreWriter
	shared    *shared
	meeting   arc.Meeting // nil without an extension
	doubted   bool        // streams; of whoever reports

	mu          sync.Mutex // streams
	streams     *streams
	told        bool // that the limit on the arc is an extrapolation
	onArc       bool
	checkpoints *checkpoints // nil without a storage
}

func newProcessor(set processor.Settings, config *Config) (*mahalanobis, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	streams, err := newStreams(config, time.Now)
	if err != nil {
		return nil, err
	}
	return &mahalanobis{
		config: config, logger: set.Logger, telemetry: telemetry, streams: streams,
		scores: newScoreWriter(set.ID.String(), set.BuildInfo.Version, config.Metrics),
	}, nil
}

func (p *mahalanobis) start(ctx context.Context, host component.Host) error {
	meeting, err := findMeeting(host.GetExtensions(), p.config.Reflex)
	if err != nil {
		return err
	}
	if err := p.shared.join(ctx, host, p, meeting); err != nil {
		return err
	}
	p.meeting, p.onArc, p.checkpoints = meeting, p.shared.onArc, p.shared.store
	return nil
}

func (p *mahalanobis) shutdown(ctx context.Context) error {
	err := p.shared.leave(ctx, p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checkpoints = nil
	if n := p.streams.clear(); n > 0 {
		p.telemetry.ProcessorMahalanobisStreams.Add(context.WithoutCancel(ctx), -int64(n))
	}
	p.telemetry.Shutdown()
	return err
}

// process adds scores to md and changes nothing else, but that the sequence
// number of a tick, which is for this processor only, is taken off.
func (p *mahalanobis) process(ctx context.Context, md pmetric.Metrics) (pmetric.Metrics, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var control arc.Control
	if p.meeting != nil {
		control = foreign(p.meeting.Control())
	}
	resources := md.ResourceMetrics()
	p.streams.born = func(st *stream) {
		if p.checkpoints != nil {
			// A caller that gives up must not cost what was learned.
			p.checkpoints.restore(context.WithoutCancel(ctx), p.checkpoints.streamKey(st.key), st.judge)
		}
	}
	p.streams.judged = func(st *stream, resource int, j *arc.Judgement, at pcommon.Timestamp) {
		rm := resources.At(resource)
		p.tell(rm, j, &st.reported)
		if j.Accepted {
			p.accepted(ctx, 1, j.Regime, rm.Resource())
		}
		p.annotate(ctx, rm, j, at)
	}
	p.streams.begin(control)
	for i := range resources.Len() {
		rm := resources.At(i)
		if p.scores.wrote(rm) {
			continue
		}
		if sequence, at, tick := p.tick(rm); tick && p.onArc {
			p.judgedOnArc(ctx, rm, sequence, at)
			continue
		}
		p.streams.reader.Read(i, rm)
	}
	opened, dropped, late := p.streams.end()
	if opened != 0 {
		p.telemetry.ProcessorMahalanobisStreams.Add(ctx, int64(opened))
	}
	if dropped != 0 {
		p.telemetry.ProcessorMahalanobisStreamsDropped.Add(ctx, int64(dropped))
	}
	if late != 0 {
		p.telemetry.ProcessorMahalanobisMeasurementsDropped.Add(ctx, int64(late))
	}
	return md, nil
}

// judgedOnArc adds the judgement that was made of a tick.
func (p *mahalanobis) judgedOnArc(ctx context.Context, rm pmetric.ResourceMetrics, sequence uint64, at pcommon.Timestamp) {
	registration := p.shared.registration
	if n, regime := registration.plateaus(); n > 0 {
		p.accepted(ctx, n, regime, rm.Resource())
	}
	var j arc.Judgement
	if !registration.judgement(sequence, &j) {
		p.telemetry.ProcessorMahalanobisAnnotationsMissed.Add(ctx, 1)
		return
	}
	p.tell(rm, &j, &p.told)
	p.annotate(ctx, rm, &j, at)
}

// tick finds the scope of a tick of the source this processor judges, takes its
// sequence number off, and returns it with the time of the tick.
func (p *mahalanobis) tick(rm pmetric.ResourceMetrics) (sequence uint64, at pcommon.Timestamp, ok bool) {
	if p.config.Preset != reading.Node {
		return 0, 0, false
	}
	for i := range rm.ScopeMetrics().Len() {
		sm := rm.ScopeMetrics().At(i)
		attributes := sm.Scope().Attributes()
		source, has := attributes.Get(reading.AttributeSource)
		if !has || source.AsString() != p.config.Source {
			continue
		}
		number, has := attributes.Get(reading.AttributeSequence)
		if !has {
			continue
		}
		sequence, at, ok = uint64(number.Int()), firstTimestamp(sm), true
		attributes.Remove(reading.AttributeSequence)
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
	p.scores.append(rm, j, at)
}

// accepted tells of n plateaus that a resource was accepted to be on.
func (p *mahalanobis) accepted(ctx context.Context, n int, regime int8, resource pcommon.Resource) {
	p.telemetry.ProcessorMahalanobisPlateausAccepted.Add(ctx, int64(n))
	p.logger.Info("new plateau accepted as normal",
		zap.Int8("regime", regime), zap.Any("resource", resource.Attributes().AsRaw()))
}

// tell says once of a baseline that its limit is an extrapolation.
func (p *mahalanobis) tell(rm pmetric.ResourceMetrics, j *arc.Judgement, told *bool) {
	if !j.Ready || !j.Extrapolated || *told {
		return
	}
	*told = true
	p.logger.Debug("the limit aims beyond the healthy history it is calibrated on and errs to the quiet side",
		zap.Any("resource", rm.Resource().Attributes().AsRaw()))
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
