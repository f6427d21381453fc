// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"math"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

const (
	// reportInterval is how often the processor tells how well founded its
	// baselines are.
	reportInterval = time.Minute
	// audits of streams at a time: each takes up to 30 ms of a core.
	audits = 4
	// doubtful is the disagreement that is warned of: a factor e in variance in
	// the typical direction.
	doubtful = 1
)

// reporter is a baseline that knows how well founded it is.
type reporter interface {
	Report(r *detect.Report)
	TakeAudit(a *detect.Audit) bool
}

var (
	ofArc     = metric.WithAttributeSet(attribute.NewSet(attribute.String("reflex.baselines", "arc")))
	ofStreams = metric.WithAttributeSet(attribute.NewSet(attribute.String("reflex.baselines", "streams")))
)

// foundation is how well founded the least founded of some baselines is.
type foundation struct {
	baselines    int // that have learned anything
	worst        detect.Report
	audited      int
	disagreement float64
}

func (f *foundation) report(r *detect.Report) {
	if r.Decisions == 0 {
		return
	}
	f.baselines++
	w := &f.worst
	if f.baselines == 1 {
		*w = *r
		return
	}
	w.History, w.Effective = min(w.History, r.History), min(w.Effective, r.Effective)
	w.Extrapolated = w.Extrapolated || r.Extrapolated
	w.Autocorrelation, w.Kurtosis = max(w.Autocorrelation, r.Autocorrelation), max(w.Kurtosis, r.Kurtosis)
	w.Season = max(w.Season, r.Season)
}

func (f *foundation) audit(disagreement float64) {
	f.audited++
	f.disagreement = max(f.disagreement, disagreement)
}

// record writes down what is known.
func (f *foundation) record(ctx context.Context, t *metadata.TelemetryBuilder, of metric.RecordOption) {
	if f.audited > 0 {
		t.ProcessorMahalanobisDisagreement.Record(ctx, f.disagreement, of)
	}
	if f.baselines == 0 {
		return
	}
	w := &f.worst
	extrapolated := int64(0)
	if w.Extrapolated {
		extrapolated = 1
	}
	t.ProcessorMahalanobisAutocorrelation.Record(ctx, w.Autocorrelation, of)
	t.ProcessorMahalanobisEffectiveDecisions.Record(ctx, w.Effective, of)
	t.ProcessorMahalanobisExtrapolated.Record(ctx, extrapolated, of)
	t.ProcessorMahalanobisHistory.Record(ctx, w.History.Seconds(), of)
	if w.Kurtosis > 0 {
		t.ProcessorMahalanobisKurtosis.Record(ctx, w.Kurtosis, of)
	}
	t.ProcessorMahalanobisSeason.Record(ctx, w.Season.Seconds(), of)
}

// doubt says once that a baseline is not to be trusted.
func (f *foundation) doubt(logger *zap.Logger, of string, told *bool) {
	if f.audited == 0 || f.disagreement <= doubtful || *told {
		return
	}
	*told = true
	logger.Warn("a robust look at healthy decisions finds another covariance than the baseline's: distances may be off by the root of the factor",
		zap.String("baselines", of), zap.Float64("factor", math.Exp(f.disagreement)))
}

// report tells how well founded the baselines of all members are.
func (s *shared) report(ctx context.Context) {
	if s.onArc {
		var (
			r detect.Report
			f foundation
		)
		reported, audited := s.registration.report(&r, &s.audit)
		if reported {
			f.report(&r)
		}
		if audited {
			f.audit(s.audit.Disagreement())
		}
		f.record(ctx, s.telemetry, ofArc)
		f.doubt(s.logger, "arc", &s.doubted)
	}
	for _, p := range s.present() {
		p.report(ctx, &s.audit)
	}
}

// report tells how well founded the streams of p are. Each is looked at under the
// lock that its judge is used under, one at a time. a is room to audit in.
func (p *mahalanobis) report(ctx context.Context, a *detect.Audit) {
	p.mu.Lock()
	all := make([]*stream, 0, len(p.streams.byResource))
	for e := p.streams.byUse.Back(); e != nil; e = e.Prev() {
		all = append(all, e.Value.(*stream))
	}
	p.mu.Unlock()
	var f foundation
	for _, st := range all {
		if ctx.Err() != nil {
			return
		}
		var r detect.Report
		p.mu.Lock()
		st.judge.Report(&r)
		audited := f.audited < audits && st.judge.TakeAudit(a)
		p.mu.Unlock()
		f.report(&r)
		if audited {
			f.audit(a.Disagreement())
		}
	}
	f.record(ctx, p.telemetry, ofStreams)
	f.doubt(p.logger, "streams", &p.doubted)
}
