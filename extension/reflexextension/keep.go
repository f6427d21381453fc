// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/store"
)

// keptWithin is how long Shutdown waits for the last records to be written: a disk that
// hangs is no reason not to end.
const keptWithin = 2 * time.Second

// keeper keeps the journal in its file. A nil keeper keeps none.
type keeper struct {
	store  *store.Store
	cancel context.CancelFunc
	done   chan struct{}
}

// keep has the journal take up what its file holds, and written to it from now on. A
// file that cannot be used is no reason not to start.
func (r *reflex) keep(ctx context.Context) {
	if r.cfg.Journal.File == "" {
		return
	}
	st, err := store.Open(store.Settings{
		Path: r.cfg.Journal.File, MaxBytes: r.cfg.Journal.MaxBytes, MaxAge: r.cfg.Journal.MaxAge,
		Now: r.wall, Boot: func() time.Time { return r.wall().Add(-time.Duration(r.clock())) }, Logger: r.logger.Named("journal"),
	}, r.journal)
	if err == nil {
		r.endEpisodes()
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // what Shutdown still adds is written too
	r.keeper = &keeper{store: st, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.keeper.done)
		st.Run(ctx)
	}()
}

// endEpisodes closes what was open when the collector before this one ended: nobody else
// will.
func (r *reflex) endEpisodes() {
	open := map[episode.ID]episode.Record{}
	var order []episode.ID
	for _, rec := range r.journal.Read(0, nil) {
		switch {
		case rec.Episode == (episode.ID{}) || rec.Kind == episode.Action || rec.Kind == episode.Operator:
		case rec.Kind == episode.Closed:
			delete(open, rec.Episode)
		default:
			if _, known := open[rec.Episode]; !known {
				order = append(order, rec.Episode)
			}
			open[rec.Episode] = rec
		}
	}
	for _, id := range order {
		last, still := open[id]
		if !still {
			continue
		}
		r.journal.Append(episode.Record{
			Kind: episode.Closed, Time: r.wall(), Episode: id, Source: last.Source, Previous: last.Level,
			Reason: "the collector ended while the episode was open; what was held was given back by the guard",
		})
		r.logger.Info("an episode was open when the collector ended", zap.String("episode", episode.FormatID(id)), zap.Time("since", last.Time))
	}
}

// stop writes what is left.
func (k *keeper) stop(logger *zap.Logger) {
	if k == nil {
		return
	}
	k.cancel()
	select {
	case <-k.done:
	case <-time.After(keptWithin):
		logger.Warn("the last records of the journal could not be written in time", zap.Uint64("records", k.store.Stats().Behind))
	}
}

// stats describes the file, nil where there is none.
func (k *keeper) stats() *episode.FileStats {
	if k == nil {
		return nil
	}
	s := k.store.Stats()
	return &s
}
