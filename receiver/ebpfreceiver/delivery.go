// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/movers"
)

// complaintInterval is the least time between two log lines about the same
// lasting trouble; the counters count every occurrence.
const complaintInterval = int64(time.Minute)

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

	rows              []int
	refusalComplained int64 // CLOCK_BOOTTIME, ns
	sourceComplained  int64
	missedComplained  int64
	missed            int64 // ticks that have been complained of
}

// run delivers until ctx is done and the consumer has answered.
func (d *delivery) run(ctx context.Context) {
	defer d.writer.identities.close()
	sample := &arc.Sample{}
	for {
		select {
		case <-ctx.Done():
		case <-d.handover.Ready():
		}
		if ctx.Err() != nil {
			return // also when both are ready: nothing enters a pipeline that is shut down
		}
		var waiting bool
		if sample, waiting = d.handover.Take(sample); waiting {
			d.deliver(ctx, sample)
		}
	}
}

func (d *delivery) deliver(ctx context.Context, s *arc.Sample) {
	d.complainOfSources(s)
	d.complainOfMissed(s)
	rows, sweep := d.choose(s)
	md := d.writer.write(s, rows, sweep)

	points := md.DataPointCount() // the consumer owns md from here on
	operation := d.report.StartMetricsOp(ctx)
	err := d.next.ConsumeMetrics(operation, md)
	d.report.EndMetricsOp(operation, metadata.Type.String(), points, err)
	if err == nil || ctx.Err() != nil {
		return
	}
	d.recorder.refused(ctx)
	if due(s.Taken, &d.refusalComplained) {
		d.logger.Warn("the pipeline refused metrics; their points are lost, sampling goes on", zap.Error(err))
	}
}

// choose returns the rows to write, and why: all of them at a full sweep, else
// the movers.
func (d *delivery) choose(s *arc.Sample) (rows []int, sweep string) {
	moved := d.ranking.Rank(&s.Cgroups)
	// By the grid: a tick that is taken a little early must not be a movers' one.
	if s.Scheduled < d.fullSweepDue {
		return moved, sweepMovers
	}
	d.fullSweepDue = s.Scheduled + d.fullSweepInterval
	d.rows = d.rows[:0]
	for row := range s.Cgroups.Len() {
		d.rows = append(d.rows, row)
	}
	// Who is in the sweep is about to be written; who is not is forgotten.
	d.writer.identities.resolve(s, d.rows)
	d.writer.identities.forget(s.Sequence)
	return d.rows, sweepFull
}

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
