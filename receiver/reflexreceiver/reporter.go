// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"
)

// reporter hands the metrics over when it is time. They are cumulative: what a
// failed report said, the next one says too.
type reporter struct {
	meter   *meter
	next    consumer.Metrics
	report  *receiverhelper.ObsReport
	now     func() time.Time
	logger  *zap.Logger
	backoff backoff
}

// run reports at every tick, until ctx ends.
func (r *reporter) run(ctx context.Context, ticks <-chan time.Time) {
	for {
		select {
		case <-ticks:
			r.deliver(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// deliver tries, with the numbers of the moment, until they are accepted or
// refused for good, or ctx ends.
func (r *reporter) deliver(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		err := r.tell(ctx)
		switch {
		case err == nil, ctx.Err() != nil:
			return
		case consumererror.IsPermanent(err):
			r.logger.Error("metrics were refused for good", zap.Error(err))
			return
		case attempt == 0:
			r.logger.Warn("metrics cannot be delivered, trying again", zap.Error(err))
		}
		if !r.backoff.wait(ctx, attempt) {
			return
		}
	}
}

// flush reports once more.
func (r *reporter) flush(ctx context.Context) {
	if err := r.tell(ctx); err != nil {
		r.logger.Warn("the last metrics could not be delivered", zap.Error(err))
	}
}

func (r *reporter) tell(ctx context.Context) error {
	metrics := r.meter.build(r.now())
	n := metrics.DataPointCount()
	ctx = r.report.StartMetricsOp(ctx)
	err := r.next.ConsumeMetrics(ctx, metrics)
	r.report.EndMetricsOp(ctx, "reflex", n, err)
	return err
}
