// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"time"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/recording"
)

// Trace is what one detector said about the scored rows of one recording.
type Trace struct {
	Score   []float64
	Alarm   []bool
	Elapsed time.Duration // for prefix and scored rows
}

// Scored is the part of a recording after the prefix, without its metrics.
type Scored struct {
	Label    []bool
	Seconds  []float64
	Interval float64 // s
}

// Rest returns the scored part of r.
func Rest(r *recording.Recording) Scored {
	return Scored{Label: r.Label[r.Prefix:], Seconds: r.Seconds[r.Prefix:], Interval: r.Interval}
}

// Seed of every detector that draws random numbers.
const Seed = 1

// Replay runs one detector over one recording.
func Replay(r *recording.Recording, e detector.Entry) Trace {
	began := time.Now()
	d := e.New(detector.Setting{Columns: r.Columns, Interval: r.Interval, Prefix: r.Prefix, Seed: Seed})
	d.Fit(r.Rows[:r.Prefix])
	rest := r.Rows[r.Prefix:]
	t := Trace{Score: make([]float64, len(rest)), Alarm: make([]bool, len(rest))}
	for i, row := range rest {
		t.Score[i], t.Alarm[i] = d.Score(row)
	}
	t.Elapsed = time.Since(began)
	return t
}
