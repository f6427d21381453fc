// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// actWithin bounds one order: a guard that does not answer in time does not
// answer.
const actWithin = time.Second

// executors is how many orders are carried out at a time, as many as a guard takes from
// one connection: a write that blocks, as while the kernel reclaims, keeps none about
// somebody else.
const executors = 2

// executor carries orders to the guard and their outcomes back.
// Nothing it waits for is waited for by the sampling goroutine.
type executor struct {
	r      *reflex
	link   link
	within time.Duration
	// held is the executor's own: what the guard holds a real lease on for us.
	mu   sync.Mutex
	held map[knob]bool

	reached atomic.Pointer[reach]
	packets packets
	byName  [16]metric.MeasurementOption
}

// reach is what is known of the guard.
type reach struct {
	ok     bool
	denied bool // there is a socket, and this user may not connect to it
	cause  string
}

func newExecutor(r *reflex, way link) *executor {
	e := &executor{r: r, link: way, within: actWithin, held: map[knob]bool{}}
	e.reached.Store(&reach{cause: "not asked yet"})
	for v := range e.byName {
		e.byName[v] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reflex.verdict", arc.Verdict(v).String())))
	}
	return e
}

func (e *executor) run(ctx context.Context) {
	var all sync.WaitGroup
	for range executors {
		all.Go(func() { e.carry(ctx) })
	}
	all.Wait()
}

func (e *executor) carry(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.r.mailbox.wake:
		}
		for ctx.Err() == nil {
			o, ok := e.r.mailbox.take()
			if !ok {
				break
			}
			e.r.answers.post(o, e.act(ctx, o))
			e.r.mailbox.done(&o)
		}
	}
}

// act carries out one order and always has an outcome.
func (e *executor) act(ctx context.Context, o arc.Order) arc.Outcome {
	var out arc.Outcome
	sent := e.r.clock()
	if e.link == nil {
		out = e.shadow(o, "no guard is configured")
	} else {
		within, cancel := context.WithTimeout(ctx, e.within)
		err := e.link.Act(within, o, &out)
		cancel()
		e.reachable(err)
		if err != nil {
			out = e.unanswered(o, err)
		}
	}
	e.r.ledger.note(&o, &out)
	e.mu.Lock()
	switch out.Verdict {
	case arc.VerdictGranted, arc.VerdictHeld:
		e.held[knobOf(&o)] = true
	case arc.VerdictReleased, arc.VerdictRefused, arc.VerdictLost:
		delete(e.held, knobOf(&o))
	}
	e.mu.Unlock()
	e.tell(&o, &out, sent)
	if int(out.Verdict) < len(e.byName) {
		e.r.tel.ReflexOrders.Add(ctx, 1, e.byName[out.Verdict])
	}
	return out
}

// tell logs one answer, renewals and moves included, for whoever measures the arc:
// the journal has only those that changed something.
func (e *executor) tell(o *arc.Order, out *arc.Outcome, sent int64) {
	line := e.r.logger.Check(zap.DebugLevel, "order answered")
	if line == nil {
		return
	}
	line.Write(zap.Uint64("cgroup", o.Cgroup), zap.Stringer("action", o.Action), zap.Stringer("verb", o.Verb), zap.Stringer("verdict", out.Verdict),
		zap.Int64("scheduled_ns", o.Scheduled), zap.Int64("sent_ns", sent), zap.Int64("written_ns", out.Written), zap.Int64("answered_ns", e.r.clock()))
}

// unanswered decides what an order without an answer counts as. Where the guard
// may hold a real lease nothing is known and the order failed; else nothing was
// and nothing is written, which is observing.
func (e *executor) unanswered(o arc.Order, err error) arc.Outcome {
	cause := fmt.Sprintf("the guard does not answer: %v", err)
	e.mu.Lock()
	held := e.held[knobOf(&o)]
	e.mu.Unlock()
	if held {
		return arc.Outcome{Verdict: arc.VerdictFailed, Cause: cause}
	}
	return e.shadow(o, cause+"; observing until it does")
}

// shadow is the outcome of an order nobody carries out.
func (e *executor) shadow(o arc.Order, cause string) arc.Outcome {
	return arc.Outcome{
		Verdict:  arc.VerdictObserved,
		Original: arc.Unlimited,
		Value:    o.Parameter,
		Deadline: e.r.clock() + o.TTL,
		Cause:    cause,
	}
}

// reachable notes whether the guard answers. Changes are told by the watchdog.
func (e *executor) reachable(err error) {
	now := reach{ok: err == nil}
	if err != nil {
		now.cause, now.denied = err.Error(), errors.Is(err, syscall.EACCES)
	}
	if *e.reached.Load() != now {
		e.reached.Store(&now)
	}
}

// probe asks the guard whether it is there.
func (e *executor) probe(ctx context.Context) {
	if e.link == nil {
		return
	}
	within, cancel := context.WithTimeout(ctx, e.within)
	defer cancel()
	judged, err := e.link.Reach(within)
	if ctx.Err() == nil {
		e.reachable(err)
	}
	if err == nil {
		e.packets.take(judged)
	}
}

// finish releases what is held and closes the link. Called after run returned.
func (e *executor) finish(ctx context.Context, orders []arc.Order) {
	if e.link == nil {
		return
	}
	for _, o := range orders {
		if ctx.Err() != nil {
			break
		}
		if out := e.act(ctx, o); out.Verdict == arc.VerdictFailed {
			e.r.logger.Warn("a lease could not be released; the guard ends it by itself",
				zap.Uint64("cgroup", o.Cgroup), zap.Duration("ttl", time.Duration(o.TTL)), zap.String("cause", out.Cause))
		}
	}
	if err := e.link.Close(); err != nil {
		e.r.logger.Warn("the link to the guard did not close cleanly", zap.Error(err))
	}
}
