// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/flight"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/movers"
)

// complaintInterval is the least time between two log lines about the same
// lasting trouble; the counters count every occurrence.
const complaintInterval = int64(time.Minute)

const (
	// recordedBatch bounds the recorded ticks of one delivery, recordedPause spaces two.
	recordedBatch = 20
	recordedPause = 200 * time.Millisecond
	// recordedPatience is the longest time between two attempts.
	recordedPatience = 5 * time.Second
)

// delivery takes samples from the handover and sends them down the pipeline.
// Everything slow about the receiver happens in its goroutine.
type delivery struct {
	handover *sampler.Handover
	writer   *writer
	ranking  *movers.Ranking
	next     consumer.Metrics
	report   *receiverhelper.ObsReport
	recorder *recorder
	logger   *zap.Logger

	fullSweepInterval int64
	fullSweepDue      int64 // CLOCK_BOOTTIME, ns

	flight   *flight.Recorder // nil where none is kept
	watchful func() bool      // whether the arc is
	topN     int
	batch    []*arc.Sample
	backoff  time.Duration
	moving   *movers.Ranking // of the recorded ticks
	moved    int64           // the tick it last saw, CLOCK_BOOTTIME, ns

	rows              []int
	refusalComplained int64 // CLOCK_BOOTTIME, ns
	sourceComplained  int64
	missedComplained  int64
	missed            int64 // ticks that have been complained of
}

// run delivers until ctx is done and the consumer has answered.
func (d *delivery) run(ctx context.Context) {
	defer d.writer.identities.close()
	if d.flight == nil {
		d.follow(ctx, d.handover)
		return
	}
	// What is recorded must not wait for a consumer: the recorder sits in between.
	out := sampler.NewHandover()
	var recording sync.WaitGroup
	recording.Go(func() { d.record(ctx, out) })
	defer recording.Wait()
	d.follow(ctx, out)
}

// record remembers every sample and hands on those that are due.
func (d *delivery) record(ctx context.Context, out *sampler.Handover) {
	sample := &arc.Sample{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.handover.Ready():
		}
		var due, waiting, replaced bool
		if sample, due, waiting = d.handover.Take(sample); !waiting {
			continue
		}
		d.flight.Add(sample, d.watchful())
		if due {
			if sample, replaced = out.Put(sample, true); replaced {
				d.recorder.replaced(ctx)
			}
		}
	}
}

// follow delivers what comes, and in between what was recorded.
func (d *delivery) follow(ctx context.Context, from *sampler.Handover) {
	sample := &arc.Sample{}
	var recorded <-chan struct{}
	if d.flight != nil {
		recorded = d.flight.Ready()
	}
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	catching := false
	for {
		select {
		case <-ctx.Done():
		case <-from.Ready():
		case <-recorded:
			if !catching { // or the timer runs, for as long as the consumer is to be left alone
				catching = true
				again.Reset(recordedPause)
			}
			continue
		case <-again.C:
			var waiting bool // what is live goes first: it may be recorded, too
			if sample, _, waiting = from.Take(sample); waiting && ctx.Err() == nil {
				d.deliver(ctx, sample)
			}
			wait := d.catchUp(ctx)
			if catching = wait > 0; catching {
				again.Reset(wait)
			}
			continue
		}
		if ctx.Err() != nil {
			return // also when both are ready: nothing enters a pipeline that is shut down
		}
		var waiting bool
		if sample, _, waiting = from.Take(sample); waiting {
			d.deliver(ctx, sample)
		}
	}
}

func (d *delivery) deliver(ctx context.Context, s *arc.Sample) {
	d.complainOfSources(s)
	d.complainOfMissed(s)
	rows, sweep := d.choose(s)
	md := d.writer.write(s, rows, sweep)
	var extremes flight.Extremes
	calm := d.calm()
	if d.flight != nil {
		if extremes = d.flight.TakeExtremes(); calm {
			d.writer.writeExtremes(md, s, &extremes)
		}
	}
	err := d.send(ctx, md)
	switch {
	case d.flight == nil:
	case err == nil:
		d.flight.Delivered(s.Sequence)
	case calm:
		d.flight.ReturnExtremes(&extremes)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	d.recorder.refused(ctx)
	if due(s.Taken, &d.refusalComplained) {
		d.logger.Warn("the pipeline refused metrics; their points are lost unless they are recorded around an anomaly, sampling goes on", zap.Error(err))
	}
}

// send hands over what the consumer owns from then on.
func (d *delivery) send(ctx context.Context, md pmetric.Metrics) error {
	points := md.DataPointCount()
	operation := d.report.StartMetricsOp(ctx)
	err := d.next.ConsumeMetrics(operation, md)
	d.report.EndMetricsOp(operation, metadata.Type.String(), points, err)
	return err
}

// catchUp delivers some of what was recorded, and returns after what time there may be
// more; 0 for nothing. What the consumer does not accept stays, unless it never will.
func (d *delivery) catchUp(ctx context.Context) (wait time.Duration) {
	if dropped := d.flight.TakeDropped(); dropped > 0 {
		d.recorder.unrecorded(ctx, int64(dropped)) //nolint:gosec // a count
		d.logger.Warn("the flight recorder is full; the oldest ticks around an anomaly are lost", zap.Uint64("ticks", dropped))
	}
	d.batch = d.flight.Next(recordedBatch, d.batch)
	if len(d.batch) == 0 {
		if d.flight.Pending() > 0 {
			return recordedPause
		}
		return 0
	}
	md := pmetric.NewMetrics()
	moved := d.movers(d.batch)
	for _, s := range d.batch {
		d.writer.writeRecorded(md, s, rowsOf(s, moved))
	}
	err := d.send(ctx, md)
	if err == nil || consumererror.IsPermanent(err) {
		if err != nil {
			d.recorder.refused(ctx)
			d.logger.Warn("the pipeline refused recorded ticks for good", zap.Error(err))
		} else {
			d.recorder.recorded(ctx, int64(len(d.batch)))
		}
		d.flight.Done(true)
		d.backoff = recordedPause
		return recordedPause
	}
	d.flight.Done(false)
	d.backoff = min(2*max(d.backoff, recordedPause), recordedPatience)
	return d.backoff
}

// movers returns the cgroups that moved most in some ticks: since the batch before, or,
// where that is long ago, from the first to the last.
func (d *delivery) movers(batch []*arc.Sample) map[uint64]bool {
	first, last := batch[0], batch[len(batch)-1]
	if d.moving == nil || first.Taken-d.moved > int64(recordedBatch)*max(first.Period, 1) {
		d.moving = movers.New(d.topN)
		d.moving.Rank(&first.Cgroups)
	}
	d.moved = last.Taken
	out := map[uint64]bool{}
	for _, row := range d.moving.Rank(&last.Cgroups) {
		out[last.Cgroups.ID[row]] = true
	}
	return out
}

// rowsOf returns the rows of some cgroups.
func rowsOf(s *arc.Sample, of map[uint64]bool) []int {
	rows := make([]int, 0, len(of))
	for row, id := range s.Cgroups.ID {
		if of[id] {
			rows = append(rows, row)
		}
	}
	return rows
}

// choose returns the rows to write, and why: all of them at a full sweep, else
// the movers, and in calm none: whoever moves then does not matter, and should that
// change the flight recorder knows them.
func (d *delivery) choose(s *arc.Sample) (rows []int, sweep string) {
	// By the grid: a tick that is taken a little early must not be a movers' one.
	if s.Scheduled < d.fullSweepDue {
		if d.calm() {
			return nil, sweepMovers
		}
		return d.ranking.Rank(&s.Cgroups), sweepMovers
	}
	d.ranking.Rank(&s.Cgroups)
	d.fullSweepDue = s.Scheduled + d.fullSweepInterval
	d.rows = d.rows[:0]
	for row := range s.Cgroups.Len() {
		d.rows = append(d.rows, row)
	}
	// Who is in the sweep is about to be written; who is not is forgotten.
	d.writer.identities.resolve(s, d.rows)
	if d.flight == nil || d.flight.Pending() == 0 { // what is recorded may be of one that is gone
		d.writer.identities.forget(s.Sequence)
	}
	return d.rows, sweepFull
}

// calm says that next to nothing is delivered.
func (d *delivery) calm() bool { return d.flight != nil && !d.watchful() }

// complainOfSources logs on behalf of the sampler, which never does.
func (d *delivery) complainOfSources(s *arc.Sample) {
	failed := d.recorder.failed.Swap(nil)
	if failed != nil && due(s.Taken, &d.sourceComplained) {
		d.logger.Warn("a source could not be read; what it fills is absent",
			zap.String("source", failed.source), zap.Error(failed.err))
	}
}

// complainOfMissed logs ticks that were skipped.
func (d *delivery) complainOfMissed(s *arc.Sample) {
	if missed := d.recorder.missed.Load(); missed > d.missed && due(s.Taken, &d.missedComplained) {
		d.logger.Warn("ticks were missed, because one took too long or the machine did not run; they are not made up for",
			zap.Int64("missed", missed-d.missed), zap.Duration("interval", time.Duration(s.Interval)))
		d.missed = missed
	}
}

// due reports whether enough time has passed since last, and if so makes it now.
func due(now int64, last *int64) bool {
	if *last != 0 && now-*last < complaintInterval {
		return false
	}
	*last = now
	return true
}
