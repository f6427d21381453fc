// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// tickPeriod is how often the watcher hears of the arm.
const tickPeriod = 500 * time.Millisecond

// ticker tells the watcher what goes on: it joins what the observer sees, what
// the client says each second, and what the collector says of itself.
type ticker struct {
	*arm
	now    recording.Event
	killed bool
	level  int
}

func newTicker(a *arm) *ticker {
	return &ticker{arm: a, now: recording.Event{Kind: recording.EventTick, Arm: a.rec.Name, PaymentLimit: a.Limit}}
}

// until ticks until the instant end.
func (t *ticker) until(ctx context.Context, end int64) error {
	begin := workload.Now()
	for at := begin; at < end; at += int64(tickPeriod) {
		if err := stage.Pause(ctx, time.Duration(min(at+int64(tickPeriod), end)-workload.Now())); err != nil {
			return err
		}
		t.now.Elapsed = float64(workload.Now()-begin) / 1e9
		t.hearObserver()
		t.hearClient()
		t.hearCollector(ctx)
		t.stream.Send(t.now)
	}
	return nil
}

func (t *ticker) hearObserver() {
	select {
	case o := <-t.observer.latest:
		t.now.PaymentBytes, t.now.PaymentCeiling = o.Payment, 0
		if o.ceiling != recording.Unlimited {
			t.now.PaymentCeiling = o.ceiling
		}
	default:
	}
	t.now.PaymentAlive = t.payment.Alive()
	if !t.now.PaymentAlive && !t.killed {
		t.killed = true
		t.note(fmt.Sprintf("the payment service was killed (%v)", t.payment.Signal))
	}
}

func (t *ticker) hearClient() {
	for {
		select {
		case line, ok := <-t.client.Lines:
			if !ok {
				return
			}
			var s workload.Second
			if json.Unmarshal([]byte(line), &s) == nil {
				t.now.PaymentAnswers, t.now.NeighbourAnswers = s.Payment, s.Neighbour
				t.now.NeighbourP99 = s.NeighbourP99
			}
		default:
			return
		}
	}
}

func (t *ticker) hearCollector(ctx context.Context) {
	if t.reflex == nil || !t.reflex.Collector.Alive() {
		t.now.Judged = false
		return
	}
	s, err := stage.ReadStatus(ctx)
	if err != nil {
		return
	}
	t.now.Level = s.Level
	if distance, limit, ok := s.Score(); ok {
		t.now.Judged, t.now.Distance, t.now.Threshold = true, distance, limit
		t.rec.Judgements = append(t.rec.Judgements, recording.Judgement{
			Time: workload.Now(), Level: s.Level, Distance: distance, Limit: limit,
		})
	}
	if s.Level != t.level {
		t.note(fmt.Sprintf("level %d → %d", t.level, s.Level))
		t.level = s.Level
	}
}
