// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"math"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/eval/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// memory is the half-life of the engine's default configuration, which the
// online challengers share.
const memory = 30 * time.Minute

// reflex is the engine as an operator gets it for metrics nobody described: the
// defaults of its configuration, every column a level. Its score is the
// engine's relative to the engine's limit, which moves with what it has
// learned; above 1 it alarms.
type reflex struct {
	setting  Setting
	detector *detect.Detector
	middle   []float64
	raw      []float64
	verdict  arc.Judgement
}

func newReflex(s Setting) Detector { return &reflex{setting: s} }

func (d *reflex) Fit(prefix []recording.Row) {
	interval := time.Duration(d.setting.Interval * float64(time.Second))
	n := len(d.setting.Columns)
	d.middle, d.raw = make([]float64, n), make([]float64, n)
	dims := make([]detect.Dimension, n)
	for j, name := range d.setting.Columns {
		middle, spread := robust(prefix, j)
		d.middle[j] = middle
		dims[j] = detect.Dimension{Name: name, Kind: detect.Level, Transform: detect.Asinh, Scale: spread}
	}
	d.detector = detect.New(detect.Config{
		Dimensions: dims, Period: interval, Warmup: time.Duration(len(prefix)) * interval,
	})
	for _, row := range prefix {
		d.Score(row)
	}
}

func (d *reflex) Score(row recording.Row) (float64, bool) {
	for j, v := range row.Raw {
		d.raw[j] = v - d.middle[j]
	}
	at := detect.Instant{Due: row.Nanoseconds, Taken: row.Nanoseconds, Interval: int64(d.setting.Interval * 1e9), Wall: wall(row.Nanoseconds)}
	d.detector.Step(at, d.raw, arc.Control{}, &d.verdict)
	if !(d.verdict.Limit > 0) {
		return 0, false
	}
	return finite(d.verdict.Score / d.verdict.Limit), d.verdict.Anomalous
}

// wall is the time of day of a row. A recording that counts from zero starts on
// a Monday at midnight: the engine learns phases of day and week, and which of
// them is called Monday does not matter.
func wall(nanoseconds int64) int64 {
	monday := time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	if nanoseconds < monday/2 {
		return monday + nanoseconds
	}
	return nanoseconds
}

// robust returns the median of column j and its median absolute deviation in
// units of a standard deviation, or the standard deviation where most values
// are the same, or 1 where all are.
func robust(rows []recording.Row, j int) (middle, spread float64) {
	values := make([]float64, 0, len(rows))
	for _, row := range rows {
		if !math.IsNaN(row.Raw[j]) {
			values = append(values, row.Raw[j])
		}
	}
	if len(values) == 0 {
		return 0, 1
	}
	slices.Sort(values)
	middle = values[len(values)/2]
	var squares float64
	for i, v := range values {
		values[i] = math.Abs(v - middle)
		squares += values[i] * values[i]
	}
	slices.Sort(values)
	spread = 1.4826 * values[len(values)/2]
	if spread < flat {
		spread = math.Sqrt(squares / float64(len(values)))
	}
	if spread < flat {
		spread = 1
	}
	return middle, spread
}
