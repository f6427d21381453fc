// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/recording"
)

// stream is a detector and what is remembered of its judgements.
type stream struct {
	StreamSummary
	detector *detect.Detector
	judged   arc.Judgement
	episodes episodes
	first    int64
	last     int64
	interval int64 // of the last sample
	plot     *series
}

// Replay is one run of the engine over one recording.
type Replay struct {
	// Progress, if set, is called every few thousand rows.
	Progress func(rows int)
	// Plot says that [Replay.WritePlot] will be asked for.
	Plot bool

	options Options
	name    string
	streams []*stream
	many    bool
	rows    int
	summary Summary
}

// New returns a replay with options.
func New(o Options) (*Replay, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if _, err := ParseSelection(o.Dimensions); err != nil {
		return nil, fmt.Errorf("dimensions: %w", err)
	}
	return &Replay{options: o}, nil
}

// report is how many rows lie between two calls of Progress.
const report = 4096

// Run steps the engine through the recording in and writes rows to w. A replay
// runs once.
func (r *Replay) Run(in *Input, w io.Writer) (*Summary, error) {
	began := time.Now()
	r.name = in.Name
	src, err := r.open(in)
	if err != nil {
		return nil, r.explain(in, err)
	}
	r.many = src.many()
	out := newRows(w, src)
	if err := out.header(); err != nil {
		return nil, fmt.Errorf("write rows: %w", err)
	}
	var sample Sample
	for {
		err := src.next(&sample)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, r.explain(in, err)
		}
		for len(r.streams) <= sample.Stream {
			s := src.stream(len(r.streams))
			r.streams = append(r.streams, r.begin(s, &sample))
			out.open(s)
		}
		s := r.streams[sample.Stream]
		s.step(&sample)
		if err := out.write(&sample, &s.judged); err != nil {
			return nil, fmt.Errorf("write rows: %w", err)
		}
		r.rows++
		if r.rows%report == 0 && r.Progress != nil {
			r.Progress(r.rows)
		}
	}
	r.summarise(src)
	r.summary.Took = time.Since(began)
	return &r.summary, nil
}

// explain says what an error interrupted.
func (r *Replay) explain(in *Input, err error) error {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return fmt.Errorf("%s: interrupted after %d rows: %w", in.Name, r.rows, end)
		}
	}
	return err
}

// open finds out what the recording is.
func (r *Replay) open(in *Input) (source, error) {
	buffered := bufio.NewReaderSize(in, block)
	start, err := buffered.Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", in.Name, err)
	}
	if recording.Is(start) {
		return newTicksSource(in.Name, buffered, &r.options)
	}
	if trimmed := bytes.TrimLeft(start, "\xef\xbb\xbf \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' {
		return newMetricsSource(in.Name, buffered, &r.options)
	}
	t, err := NewTable(in.Name, buffered)
	if err != nil {
		return nil, err
	}
	return newTableSource(t, &r.options)
}

// begin opens a stream with its first sample.
func (r *Replay) begin(described Stream, first *Sample) *stream {
	interval := time.Duration(first.At.Interval)
	s := &stream{
		StreamSummary: StreamSummary{Stream: described},
		detector:      detect.New(r.options.detection(described.Dimensions, interval)),
		episodes:      newEpisodes(interval),
		first:         first.At.Due,
	}
	if r.Plot {
		s.plot = newSeries(described.Dimensions, interval, first.At.Wall)
	}
	return s
}

// step judges one sample.
func (s *stream) step(sample *Sample) {
	s.detector.Step(sample.At, sample.Raw, arc.Control{}, &s.judged)
	s.Rows++
	s.interval = sample.At.Interval
	at := time.Duration(sample.At.Due - s.first)
	s.last = max(s.last, int64(at))
	if s.judged.Ready && s.Ready == 0 {
		s.Ready, s.ReadyAt = s.Rows, at
	}
	if s.judged.Anomalous {
		s.Anomalous++
		if s.Anomalous == 1 {
			s.detector.Report(&s.Report)
			s.Chart = s.Report.Chart
		}
	}
	s.episodes.observe(at, sample.Time, &s.judged)
	if s.plot != nil {
		s.plot.observe(at, &s.judged, isMarked(sample.Label))
	}
}

// audits of a replay at most: each takes some 10 ms.
const audits = 20

func (r *Replay) summarise(src source) {
	r.summary = Summary{Rows: r.rows}
	src.account(&r.summary)
	var audit detect.Audit
	for i, s := range r.streams {
		s.Span, s.Period = time.Duration(s.last), s.detector.Period(s.interval)
		s.NumEpisodes, s.Episodes = s.episodes.n, s.episodes.kept
		s.detector.Report(&s.Report)
		if i < audits && s.Ready > 0 && s.detector.TakeAudit(&audit) {
			s.Audited, s.Disagreement = true, audit.Disagreement()
		}
		r.summary.Streams = append(r.summary.Streams, s.StreamSummary)
	}
}
