// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"context"
	"errors"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// Source is that of the samples: the ebpf receiver's, whose work this is.
const Source = "ebpf"

// Settings say how to record.
type Settings struct {
	// Interval is the time between two ticks.
	Interval time.Duration
	// Duration ends the recording; 0: only the caller does, or the limit of
	// the recording.
	Duration time.Duration
	Clock    sampler.Clock
	// Progress, if set, is called after every tick that was written.
	Progress func(*Summary)
}

// Summary says what was recorded.
type Summary struct {
	// Ticks that were written, Missed those that the sampler skipped because one
	// took too long, and Lost those that were not written because writing did.
	Ticks, Missed, Lost uint64
	// Cgroups is how many there were at most, Truncated how many did not fit.
	Cgroups   int
	Truncated uint32
	// Span is the time from the first tick to the last, Size the recording's in
	// bytes.
	Span time.Duration
	Size int64
	// Full says that the limit of the recording ended it.
	Full bool
	// NodeError and CgroupsError are what a source answered first that could not
	// be read at some tick.
	NodeError, CgroupsError error
}

// run is a recording being made.
type run struct {
	set     Settings
	queue   *queue
	names   *names
	writer  *recording.Writer
	trouble trouble
	summary Summary
	first   int64 // when the first tick was due
}

// Run records src until ctx ends, or Duration or the limit of w is reached, and
// then closes w. It closes neither src nor what w writes to.
func Run(ctx context.Context, src *sources.Sources, w *recording.Writer, set Settings) (*Summary, error) {
	r := &run{set: set, queue: newQueue(), names: newNames(src.Names), writer: w}
	s := sampler.New(sampler.Settings{
		Source: Source, Interval: set.Interval, Node: src.Node, Cgroups: src.Cgroups,
		Observer: r.queue, Clock: set.Clock, Handover: sampler.NewHandover(), Recorder: &r.trouble,
	})
	stop, sampled := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sampled)
		s.Run(stop)
	}()
	err := r.write(ctx)
	close(stop)
	<-sampled
	if err == nil && ctx.Err() != nil {
		err = r.drain()
	}
	return r.end(err)
}

// write writes ticks until ctx ends or the recording is as long as it may be.
func (r *run) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case s := <-r.queue.waiting:
			done, err := r.tick(s)
			r.queue.spare <- s
			if done || err != nil {
				return err
			}
		}
	}
}

// drain writes the ticks that were taken before the end.
func (r *run) drain() error {
	for {
		select {
		case s := <-r.queue.waiting:
			if done, err := r.tick(s); done || err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// tick writes one tick, unless it lies beyond the end.
func (r *run) tick(s *arc.Sample) (done bool, err error) {
	if r.summary.Ticks == 0 {
		r.first = s.Scheduled
	}
	span := time.Duration(s.Scheduled - r.first)
	if r.set.Duration > 0 && span >= r.set.Duration {
		return true, nil
	}
	r.names.learn(&s.Cgroups)
	if err := r.writer.Write(s, r.names.path); err != nil {
		return true, err
	}
	r.account(s, span)
	if r.set.Progress != nil {
		r.set.Progress(&r.summary)
	}
	return false, nil
}

func (r *run) account(s *arc.Sample, span time.Duration) {
	m := &r.summary
	m.Ticks++
	m.Missed += uint64(s.Missed)
	m.Lost = r.queue.lost.Load()
	m.Cgroups, m.Truncated = max(m.Cgroups, s.Cgroups.Len()), max(m.Truncated, s.Cgroups.Truncated)
	m.Span, m.Size = span, r.writer.Size()
}

// end closes the recording, also one that is full: that is no failure.
func (r *run) end(err error) (*Summary, error) {
	m := &r.summary
	if err == nil || errors.Is(err, recording.ErrFull) {
		m.Full = err != nil
		err = r.writer.Close()
	}
	if errors.Is(err, recording.ErrFull) {
		m.Full, err = true, nil
	}
	m.Ticks, m.Size, m.Lost = r.writer.Ticks(), r.writer.Size(), r.queue.lost.Load()
	m.NodeError, m.CgroupsError = r.trouble.node, r.trouble.cgroups
	return m, err
}

// trouble keeps the first error of each source.
type trouble struct{ node, cgroups error }

// Record implements [sampler.Recorder].
func (t *trouble) Record(tick *sampler.Tick) {
	if t.node == nil {
		t.node = tick.NodeError
	}
	if t.cgroups == nil {
		t.cgroups = tick.CgroupsError
	}
}
