// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"maps"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

// flushTimeout bounds the last delivery in Shutdown when the caller's context
// does not.
const flushTimeout = 5 * time.Second

// reflexReceiver reads one journal for up to three signals.
type reflexReceiver struct {
	config    *Config
	settings  receiver.Settings
	telemetry *metadata.TelemetryBuilder
	report    *receiverhelper.ObsReport
	backoff   backoff
	now       func() time.Time
	boot      func() time.Time // see interval

	logs    consumer.Logs
	metrics consumer.Metrics
	traces  consumer.Traces

	start, stop sync.Once
	startErr    error
	cancel      context.CancelFunc
	running     sync.WaitGroup
	flushes     []func(context.Context) // what each signal still has to say at the end
}

func newReceiver(cfg *Config, set receiver.Settings) (*reflexReceiver, error) {
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &reflexReceiver{
		config: cfg, settings: set, telemetry: telemetry, report: report,
		backoff: backoff{initial: 100 * time.Millisecond, limit: 30 * time.Second},
		now:     time.Now,
		boot:    bootTime,
	}, nil
}

// Start finds the journal and begins to deliver. Only the first of the calls
// that the pipelines sharing the receiver make does anything.
func (r *reflexReceiver) Start(_ context.Context, host component.Host) error {
	r.start.Do(func() { //nolint:contextcheck // delivery outlives the context of Start
		var keeper journalKeeper
		if keeper, r.startErr = findJournal(host, r.config.Reflex); r.startErr != nil {
			return
		}
		journal := keeper.Journal()
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel = cancel
		scope := scope{version: r.settings.BuildInfo.Version}
		streams := map[metadata.AttributeTold]*stream{}
		if r.logs != nil {
			streams[metadata.AttributeToldLogs] = r.newStream("logs", journal, &logTeller{scope: scope, next: r.logs, report: r.report, boot: r.boot})
		}
		if r.traces != nil {
			teller := &traceTeller{scope: scope, next: r.traces, report: r.report, now: r.now, boot: r.boot}
			s := r.newStream("traces", journal, teller)
			teller.remember(journal, s.cursor)
			streams[metadata.AttributeToldTraces] = s
		}
		if r.metrics != nil {
			r.measure(ctx, keeper, streams)
		}
		for _, s := range streams {
			r.deliver(ctx, s)
		}
	})
	return r.startErr
}

func (r *reflexReceiver) deliver(ctx context.Context, s *stream) {
	r.running.Go(func() { s.run(ctx) })
	r.flushes = append(r.flushes, s.flush)
}

// measure starts the two goroutines of the metrics: one follows the journal and
// is never blocked, so that a slow consumer costs no counts; the other reports.
func (r *reflexReceiver) measure(ctx context.Context, keeper journalKeeper, streams map[metadata.AttributeTold]*stream) {
	journal := keeper.Journal()
	meter := newMeter(r.config.MetricsBuilderConfig, r.settings, r.now())
	counts := r.newStream("metrics", journal, meter)
	counts.cursor, counts.pace = journal.Began(), nil // sums begin with the collector, and wait for nobody
	meter.keeper, meter.streams = keeper, maps.Clone(streams)
	reporter := &reporter{
		meter: meter, next: r.metrics, report: r.report, now: r.now,
		logger: r.settings.Logger, backoff: r.backoff,
	}
	r.running.Go(func() { counts.run(ctx) })
	r.running.Go(func() {
		ticker := time.NewTicker(r.config.MetricsInterval)
		defer ticker.Stop()
		reporter.run(ctx, ticker.C)
	})
	r.flushes = append(r.flushes, func(ctx context.Context) {
		counts.flush(ctx)
		reporter.flush(ctx)
	})
}

// newStream goes on where the stream of this name was, if the journal knows.
func (r *reflexReceiver) newStream(signal string, journal *episode.Journal, t teller) *stream {
	reader := r.settings.ID.String() + "/" + signal
	s := &stream{
		signal: signal, reader: reader, cursor: journal.Marked(reader), journal: journal, teller: t, backoff: r.backoff,
		logger: r.settings.Logger.With(zap.String("signal", signal)), telemetry: r.telemetry,
		patience: r.config.RefusalPatience, now: time.Now, // a duration: not the test's clock
		pace: rate.NewLimiter(rate.Limit(r.config.ReplayRate), batchSize), buffer: make([]episode.Record, 0, batchSize),
	}
	s.told.Store(s.cursor)
	return s
}

// Shutdown stops delivery, then hands over what is left, the episodes still
// open among it, for as long as ctx and flushTimeout allow. It never fails: an
// error here would end a collector that only reloads its configuration.
func (r *reflexReceiver) Shutdown(ctx context.Context) error {
	r.stop.Do(func() {
		instances.forget(r.config)
		defer r.telemetry.Shutdown()
		if r.cancel == nil {
			return
		}
		r.cancel()
		ctx, cancel := context.WithTimeout(ctx, flushTimeout)
		defer cancel()
		if !waitFor(ctx, r.running.Wait) {
			r.settings.Logger.Warn("a consumer did not return when cancelled, what it had not accepted is not told")
			return
		}
		var flushing sync.WaitGroup
		for _, flush := range r.flushes {
			flushing.Go(func() { flush(ctx) })
		}
		if !waitFor(ctx, flushing.Wait) {
			r.settings.Logger.Warn("a consumer took too long to accept the last episodes")
		}
	})
	return nil
}

// waitFor runs wait and reports whether it returned before ctx ended.
func waitFor(ctx context.Context, wait func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
