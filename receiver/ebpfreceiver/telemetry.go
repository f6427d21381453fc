// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/wake"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

// recorder is what the receiver says about itself. It implements
// [sampler.Recorder]; options are made once, since making them allocates.
type recorder struct {
	builder   *metadata.TelemetryBuilder
	add       []metric.AddOption
	record    []metric.RecordOption
	receiver  attribute.KeyValue
	cgroups   atomic.Int64
	truncated atomic.Int64
	wakes     [wake.NumCauses][]metric.AddOption
	// missed counts the ticks skipped so far, for the delivery goroutine to log.
	missed atomic.Int64
	// failed is the latest error of a source, for the delivery goroutine to log:
	// writing a log line may block, and the sampler may not.
	failed atomic.Pointer[sourceError]
}

type sourceError struct {
	source string
	err    error
}

func newRecorder(set component.TelemetrySettings, id component.ID) (*recorder, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	receiver := attribute.String("receiver", id.String())
	labels := metric.WithAttributeSet(attribute.NewSet(receiver))
	r := &recorder{
		builder:  builder,
		add:      []metric.AddOption{labels},
		record:   []metric.RecordOption{labels},
		receiver: receiver,
	}
	for c := range wake.NumCauses {
		labels := attribute.NewSet(receiver, attribute.String("cause", c.String()))
		r.wakes[c] = []metric.AddOption{metric.WithAttributeSet(labels)}
	}
	return r, nil
}

// observe registers what is read when somebody asks.
func (r *recorder) observe(missing []arc.Requirement) error {
	labels := metric.WithAttributeSet(attribute.NewSet(r.receiver))
	if err := r.builder.RegisterReceiverEbpfSweepCgroupsCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(r.cgroups.Load(), labels)
		return nil
	}); err != nil {
		return err
	}
	if err := r.builder.RegisterReceiverEbpfSweepTruncatedCgroupsCallback(func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(r.truncated.Load(), labels)
		return nil
	}); err != nil {
		return err
	}
	return r.builder.RegisterReceiverEbpfMissingCallback(func(_ context.Context, o metric.Int64Observer) error {
		for _, m := range missing {
			o.Observe(1, metric.WithAttributes(r.receiver, attribute.String("requirement", m.Name)))
		}
		return nil
	})
}

// Record implements [sampler.Recorder].
func (r *recorder) Record(t *sampler.Tick) {
	ctx := context.Background()
	r.builder.ReceiverEbpfTicks.Add(ctx, 1, r.add...)
	r.builder.ReceiverEbpfTickLateness.Record(ctx, float64(t.Lateness)/1e9, r.record...)
	r.builder.ReceiverEbpfTickDuration.Record(ctx, float64(t.Duration)/1e9, r.record...)
	if t.Missed > 0 {
		r.builder.ReceiverEbpfMissedTicks.Add(ctx, int64(t.Missed), r.add...)
		r.missed.Add(int64(t.Missed))
	}
	for c := range wake.NumCauses {
		if t.Woken.Has(c) {
			r.builder.ReceiverEbpfEarlyWakes.Add(ctx, 1, r.wakes[c]...)
		}
	}
	if t.Replaced {
		r.builder.ReceiverEbpfReplacedDeliveries.Add(ctx, 1, r.add...)
	}
	r.cgroups.Store(int64(t.Cgroups))
	r.truncated.Store(int64(t.Truncated))
	r.fail(ctx, "node", t.NodeError)
	r.fail(ctx, "cgroups", t.CgroupsError)
}

func (r *recorder) fail(ctx context.Context, source string, err error) {
	if err == nil {
		return
	}
	r.builder.ReceiverEbpfReadErrors.Add(ctx, 1, r.add...)
	r.failed.Store(&sourceError{source: source, err: err})
}

// refused counts a delivery that the pipeline answered with an error.
func (r *recorder) refused(ctx context.Context) {
	r.builder.ReceiverEbpfRefusedDeliveries.Add(ctx, 1, r.add...)
}

// replaced counts a delivery that a newer one replaced behind the flight recorder.
func (r *recorder) replaced(ctx context.Context) {
	r.builder.ReceiverEbpfReplacedDeliveries.Add(ctx, 1, r.add...)
}

// recorded counts ticks of the flight recorder that were accepted, unrecorded those that
// it had no room for.
func (r *recorder) recorded(ctx context.Context, ticks int64) {
	r.builder.ReceiverEbpfFlightRecorderTicks.Add(ctx, ticks, r.add...)
}

func (r *recorder) unrecorded(ctx context.Context, ticks int64) {
	r.builder.ReceiverEbpfFlightRecorderDroppedTicks.Add(ctx, ticks, r.add...)
}

func (r *recorder) shutdown() { r.builder.Shutdown() }
