// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mahalanobisprocessor

import (
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/reading"
)

// checkpointer is a baseline that can be written down. What it appends it can
// restore; when Restore fails the baseline is as it was.
type checkpointer interface {
	AppendCheckpoint(b []byte) []byte
	Restore(b []byte) error
}

// judge is the detector of one stream.
type judge interface {
	checkpointer
	reporter
	Step(at detect.Instant, raw []float64, c arc.Control, j *arc.Judgement)
}

var _ judge = (*detect.Detector)(nil)

func newJudge(config detect.Config) judge { return detect.New(config) }

// newEngine returns the engine for the arc: the node preset's own, or, where
// dimensions were added to it, one that reads those too.
func newEngine(config *Config) (arc.Engine, error) {
	if len(config.Dimensions) == 0 {
		return detect.NewEngine(config.detection(nil)), nil
	}
	vocabulary, err := reading.New(config.Preset, config.Dimensions)
	if err != nil {
		return nil, err
	}
	sources := vocabulary.Sources()
	added := len(sources) - len(config.Dimensions)
	fields := make([]arc.NodeField, len(sources))
	for i, s := range sources {
		field, ok := fieldOf(s.Metric)
		if !ok || len(s.Attributes) > 0 {
			return nil, fmt.Errorf("dimensions::%d: the samples of source %q have no %s; only metrics of a node without attributes can join preset node on the arc, others take a processor of their own",
				i-added, config.Source, s.Dimension.Name)
		}
		fields[i] = field
	}
	return &engine{
		Detector: detect.New(config.detection(vocabulary.Dimensions())),
		fields:   fields, raw: make([]float64, len(fields)),
	}, nil
}

// fieldOf returns the field of a node that is written as metric.
func fieldOf(metric string) (arc.NodeField, bool) {
	for f := range arc.NumNodeFields {
		if arc.NodeFields[f].Name == metric {
			return f, true
		}
	}
	return 0, false
}

// engine judges nodes by more dimensions than [detect.Engine].
type engine struct {
	*detect.Detector
	fields []arc.NodeField
	raw    []float64
}

// Judge takes in one sample and fills j. It does not allocate.
func (e *engine) Judge(s *arc.Sample, c arc.Control, j *arc.Judgement) {
	for i, f := range e.fields {
		e.raw[i] = s.Node[f]
	}
	due := s.Scheduled
	if due == 0 {
		due = s.Taken
	}
	e.Step(detect.Instant{Due: due, Taken: s.Taken, Interval: s.Interval, Period: s.Period, Wall: s.WallTime}, e.raw, c, j)
	j.Sequence = s.Sequence
}
