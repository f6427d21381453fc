// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

const (
	watchEvery = 250 * time.Millisecond
	probeEvery = 2 * time.Second
	// nominalTick is the least interval whose multiples count as a gap, as in
	// the policy.
	nominalTick = 100 * time.Millisecond
)

// observeInt adapts a reader of a number to an instrument's callback.
func observeInt(read func() int64) metric.Int64Callback {
	return func(_ context.Context, o metric.Int64Observer) error {
		o.Observe(read())
		return nil
	}
}

// watch is the watchdog: it notices that input stopped or that the guard does
// not answer, tells the host on change, and feeds the slow instruments.
func (r *reflex) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	w := watchdog{r: r}
	for {
		w.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

type watchdog struct {
	r         *reflex
	probed    time.Time
	told      string
	toldOnce  bool
	durations []int64
	strange   map[string]int // looks at which a source had no judge
}

// look does what the watchdog does at each of its ticks.
func (w *watchdog) look(ctx context.Context) {
	r := w.r
	r.stale.Store(r.isStale())
	if now := time.Now(); now.Sub(w.probed) >= probeEvery {
		w.probed = now
		r.executor.probe(ctx)
	}
	w.durations = r.durations.drain(w.durations)
	for _, ns := range w.durations {
		r.tel.ReflexObserveDuration.Record(ctx, float64(ns)/1e9)
	}
	r.history.look(r)
	w.tell(ctx)
	w.tellUnjudged()
}

// tellUnjudged warns, once each, of sources that nobody judges. It waits for a
// second look: a processor may start after the receiver of another pipeline.
func (w *watchdog) tellUnjudged() {
	for source, n := range w.r.unjudgedNeeds() {
		if w.strange == nil {
			w.strange = map[string]int{}
		}
		if w.strange[source]++; w.strange[source] == 2 {
			w.r.logger.Warn("a source is sampled and not judged", zap.String("source", source),
				zap.String("cause", n.Cause), zap.String("remedy", n.Remedy))
		}
	}
}

// tell reports a change of what is wrong to log and host.
func (w *watchdog) tell(ctx context.Context) {
	r := w.r
	if ctx.Err() != nil {
		return
	}
	problem := r.problem()
	if w.toldOnce && problem == w.told {
		return
	}
	first := !w.toldOnce
	w.told, w.toldOnce = problem, true
	if problem == "" {
		if !first {
			r.logger.Info("reflex is whole again", zap.String("mode", r.effective()))
			componentstatus.ReportStatus(r.host, componentstatus.NewEvent(componentstatus.StatusOK))
		}
		return
	}
	r.logger.Warn("reflex is degraded", zap.String("mode", r.effective()), zap.String("cause", problem))
	componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(errors.New(problem)))
}

// problem says in one line what keeps the extension from doing what it was
// asked to, "" for nothing.
func (r *reflex) problem() string {
	if r.stale.Load() {
		return "no fresh input: the sampler has missed three ticks or more"
	}
	if r.cfg.Mode == modeEnforce && r.powerless != "" {
		return "nothing can be contained on this machine, so nothing is enforced: " + r.powerless
	}
	if reached := r.executor.reached.Load(); r.executor.link != nil && !reached.ok {
		if r.cfg.Mode == modeEnforce {
			return fmt.Sprintf("the guard at %s does not answer, so nothing is enforced: %s", r.cfg.Guard, reached.cause)
		}
		if r.cfg.Guard == guardEmbedded {
			return reached.cause
		}
	}
	return ""
}

// effective is the mode in effect, whatever was asked for.
func (r *reflex) effective() string {
	if r.cfg.Mode == modeEnforce && r.powerless == "" && r.executor != nil && r.executor.link != nil && r.executor.reached.Load().ok {
		return modeEnforce
	}
	return modeObserve
}

// isStale says that the source stopped: no sample for three intervals.
func (r *reflex) isStale() bool {
	last := r.observed.Load()
	if last == 0 {
		return false // nothing has begun; a collector may start in any order
	}
	interval := max(r.interval.Load(), int64(nominalTick))
	return r.clock()-last > 3*interval+int64(nominalTick)/2
}

// narrate logs the journal. The sampling goroutine never writes a log line: a
// log may block.
func (r *reflex) narrate(ctx context.Context) {
	cursor := r.journal.Began() // what came before was told by the collector of then
	buffer := make([]episode.Record, 0, 16)
	for {
		wake := r.journal.Wait()
		records := r.journal.Read(cursor, buffer)
		for i := range records {
			r.tell(&records[i])
			cursor = records[i].ID
		}
		if len(records) > 0 {
			continue // Shutdown waits until all is told
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}

func (r *reflex) tell(rec *episode.Record) {
	fields := []zap.Field{
		zap.String("episode", episode.FormatID(rec.Episode)),
		zap.String("level", episode.LevelName(rec.Level)),
		zap.String("reason", rec.Reason),
	}
	switch {
	case rec.Kind == episode.Operator:
		r.logger.Info("operator", fields...)
	case rec.Kind != episode.Action:
		r.logger.Info("episode "+rec.Kind.String(), fields...)
	case rec.Outcome == nil:
	case rec.Outcome.Verdict == arc.VerdictFailed || rec.Outcome.Verdict == arc.VerdictLost:
		r.logger.Warn("action "+rec.Outcome.Verdict.String(), fields...)
	default:
		r.logger.Info("action "+rec.Outcome.Verdict.String(), fields...)
	}
}
