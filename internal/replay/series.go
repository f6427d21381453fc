// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// bins of a plot across its time: more than a screen has pixels. Each spans the
// same time, and when the recording outlasts them, pairs become one.
const bins = 2048

// extent is the least and the greatest of the values in a bin.
type extent struct{ low, high float32 }

func (e *extent) add(v float64) {
	f := float32(v)
	e.low, e.high = min(e.low, f), max(e.high, f)
}

var nothing = extent{float32(math.Inf(1)), float32(math.Inf(-1))}

func (e extent) with(o extent) extent { return extent{min(e.low, o.low), max(e.high, o.high)} }

// bin is what a plot keeps of a stretch of time.
type bin struct {
	rows, judged, anomalous, marked   int32
	score, limit, speed, acceleration extent
	regime                            int8
}

var emptyBin = bin{score: nothing, limit: nothing, speed: nothing, acceleration: nothing}

func (b *bin) add(o *bin) {
	b.rows += o.rows
	b.judged += o.judged
	b.anomalous += o.anomalous
	b.marked += o.marked
	b.score, b.limit = b.score.with(o.score), b.limit.with(o.limit)
	b.speed, b.acceleration = b.speed.with(o.speed), b.acceleration.with(o.acceleration)
	if o.rows > 0 {
		b.regime = o.regime
	}
}

// series is what a plot keeps of one stream.
type series struct {
	width time.Duration // of a bin
	wall  int64         // of the first sample; 0: unknown
	bins  []bin
	used  int // bins up to the last sample
	index map[string]int
	names []string
	// shares holds the most that each dimension has contributed, by bin; total
	// what it has over all time, in parts of the squared limit.
	shares [][]float32
	total  []float64
	// before is the time of the last sample; a sample that is not later is put
	// beside it.
	before time.Duration
}

func newSeries(dims []detect.Dimension, interval time.Duration, wall int64) *series {
	s := &series{width: max(interval, 1), wall: wall, index: make(map[string]int, len(dims)), total: make([]float64, len(dims))}
	for i := range dims {
		s.names = append(s.names, dims[i].Name)
		s.index[dims[i].Name] = i
	}
	s.bins = make([]bin, bins)
	s.shares = make([][]float32, bins)
	for i := range s.bins {
		s.bins[i] = emptyBin
	}
	return s
}

func (s *series) observe(at time.Duration, j *arc.Judgement, marked bool) {
	at = max(at, s.before)
	s.before = at
	for at/s.width >= bins {
		s.halve()
	}
	k := int(at / s.width)
	s.used = max(s.used, k+1)
	b := &s.bins[k]
	b.rows++
	if marked {
		b.marked++
	}
	if j.Decided == 0 { // nothing has been judged yet
		return
	}
	if j.Ready {
		b.judged++
	}
	if j.Anomalous {
		b.anomalous++
	}
	b.score.add(j.Score)
	if j.Limit > 0 {
		b.limit.add(j.Limit)
	}
	b.speed.add(j.Velocity)
	b.acceleration.add(j.Acceleration)
	b.regime = j.Regime
	if s.shares[k] == nil {
		s.shares[k] = make([]float32, len(s.names))
	}
	for i := range j.NumContributions {
		c := &j.Contributions[i]
		if d, ok := s.index[c.Dimension]; ok && c.Share > 0 {
			s.shares[k][d] = max(s.shares[k][d], float32(c.Share))
			if j.Ready {
				s.total[d] += c.Share / max(j.Limit*j.Limit, 1)
			}
		}
	}
}

// halve makes bins twice as wide.
func (s *series) halve() {
	for k := range bins / 2 {
		merged := s.bins[2*k]
		merged.add(&s.bins[2*k+1])
		s.bins[k] = merged
		a, b := s.shares[2*k], s.shares[2*k+1]
		if a == nil {
			a = b
		} else if b != nil {
			for d := range a {
				a[d] = max(a[d], b[d])
			}
		}
		s.shares[k] = a
	}
	for k := bins / 2; k < bins; k++ {
		s.bins[k], s.shares[k] = emptyBin, nil
	}
	s.width *= 2
	s.used = (s.used + 1) / 2
}
