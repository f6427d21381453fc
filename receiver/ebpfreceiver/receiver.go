// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/flight"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/movers"
)

// shutdownPatience is how long Shutdown waits for the goroutines. A tick ends in
// a fraction of it; a consumer that does not heed its context may never.
const shutdownPatience = 500 * time.Millisecond

var errAlreadyStarted = errors.New("start ebpf receiver: it has been started before")

// ebpfReceiver owns the two goroutines: the sampler and the delivery.
type ebpfReceiver struct {
	cfg      *Config
	id       component.ID
	version  string
	logger   *zap.Logger
	next     consumer.Metrics
	recorder *recorder
	report   *receiverhelper.ObsReport

	// What tests replace.
	clock sampler.Clock
	open  func(sources.Settings, sampler.Clock) *sources.Sources

	mu      sync.Mutex
	started bool
	running *running
}

// running is what a started receiver has to put away.
type running struct {
	sources   *sources.Sources
	stop      chan struct{} // ends the sampler
	sampled   chan struct{} // closed when the sampler has ended
	cancel    context.CancelFunc
	delivered chan struct{} // closed when the delivery has ended
}

func newReceiver(set receiver.Settings, cfg *Config, next consumer.Metrics) (*ebpfReceiver, error) {
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: "kernel", ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, err
	}
	recorder, err := newRecorder(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, err
	}
	return &ebpfReceiver{
		cfg:      cfg,
		id:       set.ID,
		version:  set.BuildInfo.Version,
		logger:   set.Logger,
		next:     next,
		recorder: recorder,
		report:   report,
		clock:    new(sampler.SystemClock),
		open:     sources.Open,
	}, nil
}

// Start implements component.Component. It fails only on a configuration that
// cannot be meant; what the machine lacks is logged and done without.
func (r *ebpfReceiver) Start(_ context.Context, host component.Host) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started {
		return errAlreadyStarted
	}
	meeting, err := findMeeting(host, r.cfg.Reflex)
	if err != nil {
		return err
	}
	src := r.open(r.cfg.sources(), r.clock)
	if err := r.recorder.observe(src.Missing); err != nil {
		if src.Names != nil {
			err = errors.Join(err, src.Names.Close())
		}
		return errors.Join(err, src.Close())
	}
	for _, m := range src.Missing {
		r.logger.Warn("missing; going on with what there is",
			zap.String("requirement", m.Name), zap.String("cause", m.Cause), zap.String("remedy", m.Remedy))
	}
	report(meeting, r.id.String(), src.Missing)
	r.logger.Info("sampling", zap.String("source", r.id.String()), zap.Duration("interval", r.cfg.Interval),
		zap.Bool("cgroups", src.Cgroups != nil), zap.Bool("early_wake", src.Watch != nil), zap.Bool("arc", meeting != nil))
	r.started = true
	r.run(src, meeting) //nolint:contextcheck // Start's context ends with Start; what runs on has its own
	// The kernel's types took megabytes to read. They go back now: at rest so little
	// is allocated that they would a minute later, in one piece, on a node whose
	// usual memory is just being learned.
	debug.FreeOSMemory()
	return nil
}

// run starts the goroutines.
func (r *ebpfReceiver) run(src *sources.Sources, meeting arc.Meeting) {
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{
		sources: src,
		stop:    make(chan struct{}), sampled: make(chan struct{}),
		cancel: cancel, delivered: make(chan struct{}),
	}
	handover := sampler.NewHandover()
	settings := sampler.Settings{
		Source:   r.id.String(),
		Interval: r.cfg.Interval,
		Node:     src.Node,
		Cgroups:  src.Cgroups,
		Watch:    src.Watch,
		Clock:    r.clock,
		Handover: handover,
		Recorder: r.recorder,

		EmitInterval: r.cfg.EmitInterval,
	}
	deliver := r.newDelivery(src, handover)
	if meeting != nil {
		settings.Observer = meeting
		if f := r.cfg.FlightRecorder; f.Enabled && r.cfg.EmitInterval > r.cfg.Interval {
			settings.Record = true
			deliver.flight = flight.New(flight.Settings{Before: f.Before, After: f.After, Interval: r.cfg.Interval})
			deliver.watchful = func() bool { return meeting.Control().Watchful }
		}
	}
	ticks := sampler.New(settings)
	go func() {
		defer close(run.sampled)
		ticks.Run(run.stop)
	}()
	go func() {
		defer close(run.delivered)
		deliver.run(ctx)
	}()
	r.running = run
}

func (r *ebpfReceiver) newDelivery(src *sources.Sources, handover *sampler.Handover) *delivery {
	return &delivery{
		handover: handover,
		writer:   newWriter(r.version, r.cfg.Metrics, r.starts(src), newIdentities(src.Names, r.cfg.MaxCgroups)),
		ranking:  movers.New(r.cfg.TopN),
		next:     r.next,
		report:   r.report,
		recorder: r.recorder,
		logger:   r.logger,

		fullSweepInterval: int64(r.cfg.FullSweepInterval), topN: r.cfg.TopN,
	}
}

// starts returns since when each node counter counts (CLOCK_BOOTTIME, ns).
func (r *ebpfReceiver) starts(src *sources.Sources) [arc.NumNodeFields]int64 {
	now := r.clock.Now()
	var starts [arc.NumNodeFields]int64
	for f := range starts {
		if !src.SinceBoot[f] {
			starts[f] = now
		}
	}
	return starts
}

// Shutdown implements component.Component. It is safe without Start and more
// than once. A consumer that does not answer even when its context is cancelled
// is left behind, and said so.
func (r *ebpfReceiver) Shutdown(ctx context.Context) error {
	r.mu.Lock()
	run := r.running
	r.running, r.started = nil, true
	r.mu.Unlock()
	r.recorder.shutdown()
	if run == nil {
		return nil
	}
	run.cancel()
	close(run.stop)

	// The sources are the sampler's until its last tick is over.
	ctx, cancel := context.WithTimeout(ctx, shutdownPatience)
	defer cancel()
	if !ended(ctx, run.sampled) {
		r.logger.Warn("shutting down although the arc has not returned from its last tick; its sources stay open")
	} else if err := run.sources.Close(); err != nil {
		r.logger.Warn("closing sources", zap.Error(err))
	}
	if !ended(ctx, run.delivered) {
		r.logger.Warn("shutting down although the pipeline has not returned from its last delivery")
	}
	return nil
}

// ended waits for done as long as ctx allows.
func ended(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}
