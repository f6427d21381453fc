// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"github.com/otelcol-reflex/reflex/internal/arc"
)

// source says which field of a node feeds a dimension.
type source struct {
	field arc.NodeField
	kind  Kind
	scale float64
	floor float64
	tf    Transform
}

const mebibyte = 1 << 20

// nodeSources is the node preset: sixteen dimensions. Scales are where a
// dimension turns from noise to matter on a small busy machine; floors are what
// a quiet machine's jitter, and the resolution of the kernel's clocks over
// 100 ms, may look like without being news.
var nodeSources = [...]source{
	{arc.NodeCPUBusy, Rate, 0.5, 0.375, Log1p},
	{arc.NodeCPUSystem, Rate, 0.25, 0.375, Log1p},
	{arc.NodeContextSwitches, Rate, 2000, 0.525, Log1p},
	{arc.NodeRunQueueDelay, Rate, 0.1, 0.525, Log1p},
	{arc.NodePressureCPUSome, Rate, 0.1, 0.525, Log1p},
	{arc.NodePressureMemorySome, Rate, 0.02, 0.3, Log1p},
	{arc.NodePressureIOSome, Rate, 0.2, 0.6, Log1p},
	{arc.NodeMemoryUsed, Level, 64 * mebibyte, 0.2, Log1p},
	{arc.NodeMemoryUsed, Growth, 128 * mebibyte, 0.015, Asinh},
	{arc.NodePageFaults, Rate, 4000, 0.525, Log1p},
	{arc.NodeMajorFaults, Rate, 50, 0.6, Log1p},
	{arc.NodeDirectReclaims, Rate, 50, 0.3, Log1p},
	{arc.NodeForks, Rate, 100, 0.6, Log1p},
	{arc.NodeBlockTime, Rate, 0.2, 0.6, Log1p},
	{arc.NodePacketsReceived, Rate, 2000, 0.6, Log1p},
	{arc.NodeTCPRetransmits, Rate, 50, 0.6, Log1p},
}

// GrowthSuffix follows the name of a gauge in the name of the dimension that is
// its growth.
const GrowthSuffix = ".growth"

// NodeDimensions returns the dimensions of the node preset, over
// [arc.NodeFields], and the field that feeds each.
func NodeDimensions() ([]Dimension, []arc.NodeField) {
	dims := make([]Dimension, len(nodeSources))
	fields := make([]arc.NodeField, len(nodeSources))
	for i, s := range nodeSources {
		f := arc.NodeFields[s.field]
		dims[i] = Dimension{Name: f.Name, Kind: s.kind, Transform: s.tf, Scale: s.scale, Floor: s.floor, Load: f.Load}
		if s.kind == Growth {
			dims[i].Name += GrowthSuffix
		}
		fields[i] = s.field
	}
	return dims, fields
}

// Engine judges the node of every sample of one source. It implements
// [arc.Engine].
type Engine struct {
	detector *Detector
	fields   []arc.NodeField
	raw      []float64
}

var _ arc.Engine = (*Engine)(nil)

// NewEngine returns an engine over the node preset; config's Dimensions are
// ignored.
func NewEngine(config Config) *Engine {
	dims, fields := NodeDimensions()
	config.Dimensions = dims
	return &Engine{detector: New(config), fields: fields, raw: make([]float64, len(dims))}
}

// Judge takes in one sample and fills j. It does not allocate.
func (e *Engine) Judge(s *arc.Sample, c arc.Control, j *arc.Judgement) {
	for i, f := range e.fields {
		e.raw[i] = s.Node[f]
	}
	due := s.Scheduled
	if due == 0 {
		due = s.Taken
	}
	e.detector.Step(Instant{Due: due, Taken: s.Taken, Interval: s.Interval, Period: s.Period, Wall: s.WallTime}, e.raw, c, j)
	j.Sequence = s.Sequence
}

// AppendCheckpoint appends what the engine has learned to b, see
// [Detector.AppendCheckpoint].
func (e *Engine) AppendCheckpoint(b []byte) []byte { return e.detector.AppendCheckpoint(b) }

// Restore takes up a checkpoint, see [Detector.Restore].
func (e *Engine) Restore(b []byte) error { return e.detector.Restore(b) }

// Report fills r.
func (e *Engine) Report(r *Report) { e.detector.Report(r) }

// TakeAudit copies what an audit needs into a, see [Detector.TakeAudit].
func (e *Engine) TakeAudit(a *Audit) bool { return e.detector.TakeAudit(a) }
