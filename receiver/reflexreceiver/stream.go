// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

// batchSize bounds the records of one delivery.
const batchSize = 64

// teller turns records into one signal.
type teller interface {
	// take is given every record once, in order. The records are valid until
	// forget.
	take(records []episode.Record)
	// tell hands what was taken to the next component. It builds it anew each
	// time: the next component may have changed what it was given.
	tell(ctx context.Context) error
	// forget drops what was taken, because it was told or cannot be.
	forget()
	// finish adds what can only be said at the end.
	finish()
	// need returns the ID of the last record that a teller after this one can do
	// without, given that all up to done were told.
	need(done uint64) uint64
}

// stream delivers a journal as one signal, at its own pace. Its cursor moves
// only when the next component has accepted a batch or refused it for good, and is
// noted in the journal, which may outlive the collector.
type stream struct {
	signal    string
	reader    string // its name in the journal
	journal   *episode.Journal
	teller    teller
	backoff   backoff
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	pace      *rate.Limiter // of records; nil for none
	patience  time.Duration // with a refusal for good
	now       func() time.Time

	cursor uint64           // ID of the last record done with
	told   atomic.Uint64    // the same, for others to read
	missed atomic.Uint64    // records displaced before they were read
	denied atomic.Uint64    // records refused for good
	buffer []episode.Record // records taken and not yet done with
}

// run delivers until ctx ends.
func (s *stream) run(ctx context.Context) {
	for ctx.Err() == nil {
		wake := s.journal.Wait()
		if s.load(ctx) {
			if s.pace != nil && s.pace.WaitN(ctx, len(s.buffer)) != nil {
				return
			}
			s.deliver(ctx)
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// load takes the next records, unless some are still to be delivered, and
// reports whether there is anything to deliver.
func (s *stream) load(ctx context.Context) bool {
	if len(s.buffer) > 0 {
		return true
	}
	s.buffer = s.journal.Read(s.cursor, s.buffer)
	if len(s.buffer) == 0 {
		return false
	}
	if missed := s.buffer[len(s.buffer)-1].ID - s.cursor - uint64(len(s.buffer)); missed > 0 {
		s.missed.Add(missed)
		s.telemetry.ReflexReceiverRecordsMissed.Add(ctx, int64(missed), s.attributes()) //nolint:gosec // a count
		s.logger.Warn("the journal was full before its records could be delivered", zap.Uint64("missed", missed))
	}
	s.teller.take(s.buffer)
	return true
}

// deliver tries until the batch is accepted, refused for good for longer than there is
// patience for, or ctx ends. For good is what a backend says whose credentials have
// expired, too: records that cannot be the reason do not pay for it at once.
func (s *stream) deliver(ctx context.Context) {
	var since time.Time // of the first refusal for good in a row
	for attempt := 0; ; attempt++ {
		err := s.teller.tell(ctx)
		switch {
		case !consumererror.IsPermanent(err):
			since = time.Time{}
		case since.IsZero():
			since = s.now()
		}
		if err == nil || !since.IsZero() && s.now().Sub(since) >= s.patience {
			if err == nil && attempt > 0 {
				s.logger.Info("episodes are delivered again")
			}
			s.done(ctx, err)
			return
		}
		if ctx.Err() != nil {
			return
		}
		if attempt == 0 {
			s.logger.Warn("episodes cannot be delivered, trying again", zap.Error(err))
		}
		if !s.backoff.wait(ctx, attempt) {
			return
		}
	}
}

// done moves the cursor past the batch; err is why it was refused, if it was.
func (s *stream) done(ctx context.Context, err error) {
	if err != nil {
		s.denied.Add(uint64(len(s.buffer)))
		s.telemetry.ReflexReceiverRecordsRefused.Add(ctx, int64(len(s.buffer)), s.attributes())
		s.logger.Error("episodes were refused for good and are skipped",
			zap.Error(err), zap.Int("records", len(s.buffer)))
	}
	if len(s.buffer) > 0 {
		s.cursor = s.buffer[len(s.buffer)-1].ID
		s.told.Store(s.cursor)
		s.journal.Mark(s.reader, s.teller.need(s.cursor))
	}
	s.buffer = s.buffer[:0]
	s.teller.forget()
}

// flush tells what is left once, without trying again.
func (s *stream) flush(ctx context.Context) {
	for ctx.Err() == nil && s.load(ctx) {
		err := s.teller.tell(ctx)
		if err != nil && (!consumererror.IsPermanent(err) || s.patience > 0) {
			s.logger.Warn("the last episodes could not be delivered", zap.Error(err))
			return
		}
		s.done(ctx, err)
	}
	if ctx.Err() != nil {
		return // whoever waited for this has given up
	}
	s.teller.finish()
	if err := s.teller.tell(ctx); err != nil {
		s.logger.Warn("the open episodes could not be delivered", zap.Error(err))
	}
}

func (s *stream) attributes() metric.MeasurementOption {
	return metric.WithAttributes(attribute.String("signal", s.signal))
}

// backoff spaces attempts: from initial, doubling up to limit, each shortened
// at random by up to a half so that many collectors do not try in step.
type backoff struct {
	initial, limit time.Duration
}

// wait returns false if ctx ended first.
func (b backoff) wait(ctx context.Context, attempt int) bool {
	d := b.limit
	if attempt < 20 {
		d = min(b.initial<<attempt, b.limit)
	}
	timer := time.NewTimer(d - rand.N(d/2+1)) //nolint:gosec // not a secret
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
