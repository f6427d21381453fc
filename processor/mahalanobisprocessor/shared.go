// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/processor/mahalanobisprocessor/internal/metadata"
)

// shared is what the instances have in common that one configuration has in
// several pipelines: a source has one judge, and a storage one client.
type shared struct {
	config       *Config
	id           component.ID
	registration *registration // nil unless preset node
	forget       func()

	starts    sync.Mutex // join and leave
	cancel    context.CancelFunc
	running   sync.WaitGroup
	onArc     bool
	store     *checkpoints // nil without a storage
	logger    *zap.Logger  // these two are those of who started it
	telemetry *metadata.TelemetryBuilder

	engineSize int          // of the last checkpoint of the engine, bytes; of whoever saves
	audit      detect.Audit // of whoever reports
	doubted    bool         // the engine; likewise

	mu      sync.Mutex // members
	members map[*mahalanobis]struct{}
}

// join starts what is shared, if p is the first to need it. When it fails nothing
// is started.
func (s *shared) join(ctx context.Context, host component.Host, p *mahalanobis, meeting arc.Meeting) error {
	s.starts.Lock()
	defer s.starts.Unlock()
	if len(s.members) == 0 {
		if err := s.start(ctx, host, p, meeting); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members[p] = struct{}{}
	return nil
}

func (s *shared) start(ctx context.Context, host component.Host, p *mahalanobis, meeting arc.Meeting) error {
	s.logger, s.telemetry = p.logger, p.telemetry
	onArc := s.registration != nil && meeting != nil
	if onArc {
		engine, err := newEngine(s.config)
		if err != nil {
			return err
		}
		s.registration.engine = engine
	}
	if s.config.Storage != nil {
		found, err := findStorage(host.GetExtensions(), *s.config.Storage)
		if err != nil {
			return err
		}
		// A storage that is damaged is no reason not to judge.
		if s.store, err = s.openStore(ctx, found, p); err != nil {
			p.telemetry.ProcessorMahalanobisCheckpointsFailed.Add(ctx, 1)
			p.logger.Error("the storage cannot be used: baselines begin empty, and none is kept over restarts", zap.Stringer("storage", s.config.Storage), zap.Error(err))
		}
		if engine, ok := s.engine(); ok && onArc && s.store != nil {
			s.engineSize = len(engine.AppendCheckpoint(nil))
			s.registration.restored = s.store.restore(ctx, s.store.engineKey(s.config.Source), engine)
			s.registration.begins = 0
		}
	}
	if onArc {
		if err := s.registration.start(meeting); err != nil {
			if s.store != nil {
				err = errors.Join(err, s.store.close(ctx))
				s.store = nil
			}
			return err
		}
	}
	s.onArc = onArc
	s.run() //nolint:contextcheck // lives until leave, not until Start has returned
	return nil
}

// openStore opens the checkpoints of a storage, or returns nil and why not.
func (s *shared) openStore(ctx context.Context, in storage.Extension, p *mahalanobis) (*checkpoints, error) {
	client, err := in.GetClient(ctx, component.KindProcessor, s.id, "")
	if err != nil {
		return nil, err
	}
	store := &checkpoints{
		version: dimensionsVersion(s.config.Preset, p.streams.vocabulary.Dimensions()),
		most:    s.config.MaxStreams + 1, now: p.streams.now, logger: p.logger, telemetry: p.telemetry, client: client,
	}
	if err := store.open(ctx); err != nil {
		return nil, errors.Join(err, client.Close(ctx))
	}
	return store, nil
}

func (s *shared) engine() (checkpointer, bool) {
	if s.registration == nil {
		return nil, false
	}
	engine, ok := s.registration.engine.(checkpointer)
	return engine, ok
}

// run reports, and saves checkpoints where there is a storage, in goroutines of
// their own, until cancelled: a storage that hangs silences no report.
func (s *shared) run() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	every := func(interval time.Duration, do func(context.Context)) {
		s.running.Go(func() {
			ticker := time.NewTicker(interval)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
					do(ctx)
				}
			}
		})
	}
	every(reportInterval, s.report)
	if s.store != nil {
		every(s.config.CheckpointInterval, func(ctx context.Context) { s.save(ctx, false) })
	}
}

// present are the members.
func (s *shared) present() []*mahalanobis {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.members))
}

// save saves what the engine and the streams of all members have learned.
func (s *shared) save(ctx context.Context, must bool) {
	s.saveEngine(ctx, must)
	for _, p := range s.present() {
		p.save(ctx, s.store)
	}
}

func (s *shared) saveEngine(ctx context.Context, must bool) {
	if !s.onArc {
		return
	}
	if data := s.registration.checkpoint(s.room(), must); len(data) > 0 {
		s.engineSize = len(data)
		s.store.save(ctx, []saved{{s.store.engineKey(s.config.Source), data}})
	}
}

// room is for a checkpoint as large as the last and some more, so that nothing
// grows under the lock of the arc.
func (s *shared) room() []byte { return make([]byte, 0, s.engineSize+s.engineSize/8) }

// leave saves what p has learned, and stops what is shared when p is the last.
func (s *shared) leave(ctx context.Context, p *mahalanobis) error {
	s.starts.Lock()
	defer s.starts.Unlock()
	s.mu.Lock()
	_, joined := s.members[p]
	delete(s.members, p)
	last := len(s.members) == 0
	s.mu.Unlock()
	if last {
		s.forget()
	}
	if !joined {
		return nil
	}

	if last && s.cancel != nil {
		s.cancel()
		s.running.Wait()
		s.cancel = nil
	}
	if s.store != nil {
		p.save(ctx, s.store)
	}
	if !last {
		return nil
	}
	if s.onArc {
		s.registration.stop()
	}
	if s.store == nil {
		return nil
	}
	s.saveEngine(ctx, true)
	store := s.store
	s.store = nil
	return store.close(ctx)
}

// save stores the checkpoints of the streams that have learned since the last
// time. Each is copied under the lock that its judge is used under, one at a time,
// so that a batch of metrics waits for the copy of one baseline at most.
func (p *mahalanobis) save(ctx context.Context, store *checkpoints) {
	p.mu.Lock()
	learned := make([]*stream, 0, len(p.streams.byResource))
	for _, st := range p.streams.byResource {
		if st.learned {
			learned = append(learned, st)
		}
	}
	p.mu.Unlock()
	var batch []saved
	size, last := 0, 0
	for _, st := range learned {
		if ctx.Err() != nil {
			p.logger.Debug("checkpoints were not all saved", zap.Error(ctx.Err()))
			return
		}
		room := make([]byte, 0, last)
		p.mu.Lock()
		st.learned = false
		data := st.judge.AppendCheckpoint(room)
		p.mu.Unlock()
		last = len(data)
		if len(data) == 0 {
			continue
		}
		batch = append(batch, saved{store.streamKey(st.key), data})
		if size += len(data); size >= batchSize {
			store.save(ctx, batch)
			batch, size = batch[:0], 0
		}
	}
	store.save(ctx, batch)
}
