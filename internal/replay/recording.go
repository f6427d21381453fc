// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Sample is one row of a recording. What it points to is valid until the next
// one is read.
type Sample struct {
	// Stream is the index of the stream that it belongs to.
	Stream int
	// Time is as the recording writes it, or seconds where it writes none.
	Time []byte
	At   detect.Instant
	// Raw holds one value a dimension of the stream, NaN where missing.
	Raw   []float64
	Label []byte
}

// Stream is a sequence of samples that share a baseline.
type Stream struct {
	// Resource tells the stream from others in the recording; empty where there
	// is only one.
	Resource   string
	Dimensions []detect.Dimension
}

// source reads the samples of a recording.
type source interface {
	// next fills s. It returns io.EOF after the last sample, once; what is wrong
	// with the recording as a whole is an error in its place.
	next(s *Sample) error
	// stream describes one stream that next has named.
	stream(i int) Stream
	// labelled says that samples have labels, many that streams have names.
	labelled() bool
	many() bool
	// account adds what the source knows to a summary.
	account(s *Summary)
}

// tableSource reads the one stream of a table.
type tableSource struct {
	*Layout
	t    *Table
	raw  []float64
	made []byte

	rows     int
	missing  int
	odd      []oddities // by dimension
	oddTimes oddities
	back     int
	first    int64
	last     int64 // time of the last row, ns
}

// oddities are cells that are no numbers.
type oddities struct {
	n, line int
	text    string
}

func (o *oddities) add(line int, cell []byte) {
	if o.n == 0 {
		o.line, o.text = line, string(cell)
	}
	o.n++
}

func newTableSource(t *Table, o *Options) (*tableSource, error) {
	l, err := layout(t, o)
	if err != nil {
		return nil, err
	}
	return &tableSource{Layout: l, t: t, raw: make([]float64, len(l.Columns)), odd: make([]oddities, len(l.Columns))}, nil
}

// begin is the instant of the first row on the engine's clock, which is none of
// a recording's.
const begin = int64(1e9)

func (s *tableSource) next(to *Sample) error {
	if err := s.t.Next(); err != nil {
		if odd := s.oddity(); odd != nil && errors.Is(err, io.EOF) {
			return odd
		}
		return err
	}
	cells := s.t.Cells()
	to.Stream = 0
	s.place(to, cells)
	for k, i := range s.Columns {
		v, ok := parseNumber(cells[i])
		if !ok {
			s.odd[k].add(s.t.Line(), cells[i])
		}
		if math.IsNaN(v) {
			s.missing++
		}
		s.raw[k] = v
	}
	to.Raw = s.raw
	to.Label = nil
	if s.Label >= 0 {
		to.Label = cells[s.Label]
	}
	s.rows++
	return nil
}

// place puts the row in time. A row that does not say its time is one interval
// after the one before.
func (s *tableSource) place(to *Sample, cells [][]byte) {
	at := s.last + int64(s.Interval)
	if s.rows == 0 {
		at = 0
	}
	if s.Time < 0 {
		s.made = strconv.AppendFloat(s.made[:0], float64(at)/1e9, 'f', -1, 64)
		to.Time = s.made
	} else {
		to.Time = cells[s.Time]
		if ns, ok := s.clock.parse(to.Time); ok {
			at = ns
		} else {
			s.oddTimes.add(s.t.Line(), to.Time)
		}
	}
	if s.rows == 0 {
		s.first = at
	} else if at < s.last {
		s.back++
	}
	s.last = at
	due := at - s.first + begin
	to.At = detect.Instant{Due: due, Taken: due, Interval: int64(s.Interval)}
	if s.clock.wall {
		to.At.Wall = at
	}
}

// oddity is what is wrong with a table when more than a few cells of a column
// are no numbers.
func (s *tableSource) oddity() error {
	for k := range s.odd {
		if s.tooMany(s.odd[k].n) {
			return fmt.Errorf("%s: line %d, column %q: %q is no number, nor are %d of %d cells in this column; leave it out with --dimensions '!%[3]s'",
				s.t.Name, s.odd[k].line, s.Dimensions[k].Name, s.odd[k].text, s.odd[k].n, s.rows)
		}
	}
	if s.tooMany(s.oddTimes.n) {
		return fmt.Errorf("%s: line %d, column %q: %q is no time, nor are %d of %d cells in this column",
			s.t.Name, s.oddTimes.line, s.t.Header[s.Time], s.oddTimes.text, s.oddTimes.n, s.rows)
	}
	return nil
}

func (s *tableSource) tooMany(n int) bool { return n > 1 && float64(n) > tolerated*float64(s.rows) }

func (s *tableSource) stream(int) Stream { return Stream{Dimensions: s.Dimensions} }
func (s *tableSource) labelled() bool    { return s.Label >= 0 }
func (s *tableSource) many() bool        { return false }

func (s *tableSource) account(to *Summary) {
	to.Missing, to.Backwards, to.OddTimes, to.Skipped = s.missing, s.back, s.oddTimes.n, s.Skipped
	for k := range s.odd {
		to.Odd += s.odd[k].n
	}
	to.Interval = s.Interval
}
