// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detector

import (
	"time"

	"github.com/otelcol-reflex/reflex/eval/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// memory is the half-life of the engine's default configuration, and
// leastMemory how many rows it is at least for every dimension and
// leastDimensions more. The online challengers share it: a covariance of fewer
// rows is noise.
const (
	memory          = time.Hour
	leastMemory     = 200
	leastDimensions = 10
)

// reflex is the engine as an operator gets it for metrics nobody described: the
// defaults of its configuration, every column a level on a scale that it
// learns. Its score is the engine's relative to the engine's limit, which moves
// with what it has learned; above 1 it alarms.
type reflex struct {
	setting  Setting
	detector *detect.Detector
	verdict  arc.Judgement
}

func newReflex(s Setting) Detector { return &reflex{setting: s} }

func (d *reflex) Fit(prefix []recording.Row) {
	interval := time.Duration(d.setting.Interval * float64(time.Second))
	dims := make([]detect.Dimension, len(d.setting.Columns))
	for j, name := range d.setting.Columns {
		dims[j] = detect.Free(name)
	}
	d.detector = detect.New(detect.Config{
		Dimensions: dims, Period: interval,
		Warmup: time.Duration(prefix[len(prefix)-1].Nanoseconds-prefix[0].Nanoseconds) + interval,
	})
	for _, row := range prefix {
		d.Score(row)
	}
}

func (d *reflex) Score(row recording.Row) (float64, bool) {
	at := detect.Instant{Due: row.Nanoseconds, Taken: row.Nanoseconds, Interval: int64(d.setting.Interval * 1e9), Wall: wall(row.Nanoseconds)}
	d.detector.Step(at, row.Raw, arc.Control{}, &d.verdict)
	if !(d.verdict.Limit > 0) {
		return 0, false
	}
	return finite(d.verdict.Score), d.verdict.Anomalous
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
