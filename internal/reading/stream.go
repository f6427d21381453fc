// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// patience is how many measurements in a row may be odd, older than the newest one
// or of other series, before it is believed that a clock was set back, or that the
// source always is like that.
const patience = 3

// Stream is what is remembered of one resource from one measurement to the next.
// It is not safe for concurrent use.
type Stream struct {
	// Owner is the opener's own and not looked at here.
	Owner any

	vocabulary *Vocabulary
	cells      []cell
	raw        []float64
	taken      int64 // when the last vector was measured, ns since the Unix epoch; 0: none yet
	late       int   // measurements in a row that were older

	reading  bool  // the present batch has something of it
	newest   int64 // the newest timestamp in it
	resource int   // the last resource of the batch that was read
}

// cell is one dimension.
type cell struct {
	// The present measurement.
	sum    float64
	found  bool
	delta  bool
	at     int64  // newest timestamp
	start  int64  // oldest start timestamp
	series uint64 // which series were added up: the sum of their mixed start timestamps

	// The past, for counters.
	begun     bool
	total     float64 // what has been counted since the stream began
	counted   float64 // the last sum
	following uint64  // series of the last sum
	changes   int     // measurements in a row whose series were others than the last's
}

// NewStream returns a stream that has seen nothing.
func (v *Vocabulary) NewStream() *Stream {
	return &Stream{vocabulary: v, cells: make([]cell, len(v.dims)), raw: make([]float64, len(v.dims))}
}

// begin begins a measurement.
func (s *Stream) begin() {
	s.reading, s.newest = true, 0
	for j := range s.cells {
		c := &s.cells[j]
		c.sum, c.found, c.delta, c.at, c.start, c.series = 0, false, false, 0, math.MaxInt64, 0
	}
}

// points returns the data points of m, and whether they are differences. Nothing
// but sums and gauges has any.
func points(m pmetric.Metric) (p pmetric.NumberDataPointSlice, delta, ok bool) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints(), false, true
	case pmetric.MetricTypeSum:
		return m.Sum().DataPoints(), m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityDelta, true
	default:
		return p, false, false
	}
}

// repeats reports whether m is of a later measurement than the present one,
// which has read the metric already.
func (s *Stream) repeats(m pmetric.Metric) bool {
	p, _, ok := points(m)
	if !ok || p.Len() == 0 {
		return false
	}
	for _, j := range s.vocabulary.byMetric[m.Name()] {
		if c := &s.cells[j]; c.found && int64(p.At(0).Timestamp()) > c.at {
			return true
		}
	}
	return false
}

// add adds the data points of m to the present measurement.
func (s *Stream) add(m pmetric.Metric) {
	p, delta, ok := points(m)
	if !ok {
		return
	}
	dims := s.vocabulary.byMetric[m.Name()]
	for i := range p.Len() {
		point := p.At(i)
		v, ok := value(point)
		if !ok {
			continue
		}
		for _, j := range dims {
			if s.vocabulary.dims[j].matches(point) {
				s.cells[j].add(v, delta, point.StartTimestamp(), point.Timestamp())
				s.newest = max(s.newest, int64(point.Timestamp()))
			}
		}
	}
}

// value returns the value of p, unless it has none.
func value(p pmetric.NumberDataPoint) (float64, bool) {
	if p.Flags().NoRecordedValue() {
		return 0, false
	}
	switch p.ValueType() {
	case pmetric.NumberDataPointValueTypeInt:
		return float64(p.IntValue()), true
	case pmetric.NumberDataPointValueTypeDouble:
		return p.DoubleValue(), true
	default:
		return 0, false
	}
}

func (c *cell) add(v float64, delta bool, start, at pcommon.Timestamp) {
	c.sum += v
	c.found, c.delta = true, delta
	c.at = max(c.at, int64(at))
	c.start = min(c.start, int64(start))
	c.series += mix(uint64(start))
}

// mix scatters start timestamps so that the sum of several tells which they were
// (Steele, Lea and Flood 2014, the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// end ends the measurement and returns when it was made and its raw values, NaN
// where missing, valid until the next. It is not ok when nothing was measured at a
// known time, or nothing later than the last, and late when at an earlier one.
func (s *Stream) end() (at int64, raw []float64, ok, late bool) {
	s.reading = false
	switch {
	case s.newest == 0 || s.newest == s.taken:
		return 0, nil, false, false
	case s.newest < s.taken:
		if s.late++; s.late < patience {
			return 0, nil, false, true
		}
		for j := range s.cells {
			s.cells[j].begun = false
		}
	}
	for j := range s.cells {
		c := &s.cells[j]
		switch {
		case !c.found || c.sum-c.sum != 0:
			s.raw[j] = math.NaN()
		case s.vocabulary.dims[j].Kind == detect.Rate:
			s.raw[j] = c.count(s.taken)
		default:
			s.raw[j] = c.sum
		}
	}
	s.late, s.taken = 0, s.newest
	return s.newest, s.raw, true, false
}

// changed reports whether the series of this measurement are others than those of
// the last. Where that is so every time, start timestamps say nothing.
func (c *cell) changed() bool {
	if c.series == c.following {
		c.changes = 0
		return false
	}
	c.changes++
	return c.changes < patience
}

// count advances the running total of a counter whose last measurement was at
// taken, and returns it.
func (c *cell) count(taken int64) float64 {
	switch {
	case !c.begun:
		c.total = c.sum
	case c.delta && c.start > 0 && c.start-taken > (c.at-c.start)/2:
		c.interrupt() // differences in between were lost
	case c.delta:
		c.total += c.sum
	default:
		c.follow(taken)
	}
	if c.total-c.total != 0 { // overflown
		c.total = c.sum
	}
	c.begun, c.counted, c.following = true, c.sum, c.series
	return c.total
}

// follow advances the running total of a cumulative sum.
func (c *cell) follow(taken int64) {
	changed := c.changed()
	switch {
	case changed && c.sum < c.counted && c.start > taken && c.start < c.at:
		c.total += c.sum // counted from nothing since
	case changed, c.sum < c.counted:
		c.interrupt()
	default:
		c.total += c.sum - c.counted
	}
}

// interrupt tells the vectoriser that the counter has started again, which it
// knows by a smaller value: how much was counted since the last measurement is
// unknown, and the next difference is good again.
func (c *cell) interrupt() {
	c.total = math.Nextafter(c.total, math.Inf(-1))
}
