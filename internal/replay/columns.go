// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Columns is a whole table in memory.
type Columns struct {
	// Names of the dimensions, in the order of the file, and their values, one
	// slice a dimension, NaN where missing.
	Names  []string
	Values [][]float64
	// At are the rows' places in time: what the engine is stepped with.
	At []detect.Instant
	// Label of each row; nil without a label column.
	Label []string
	// Text holds the other columns that are no dimensions, by name.
	Text map[string][]string
	// Interval is the time between rows.
	Interval time.Duration
	Skipped  []Skipped
}

// Rows is the number of rows.
func (c *Columns) Rows() int { return len(c.At) }

// Row fills raw with the values of row i, one a dimension.
func (c *Columns) Row(i int, raw []float64) {
	for k := range c.Values {
		raw[k] = c.Values[k][i]
	}
}

// Marked says whether the label of row i marks it as anomalous: it is neither
// empty nor 0, nor a word for normal.
func (c *Columns) Marked(i int) bool { return c.Label != nil && isMarked([]byte(c.Label[i])) }

// ReadColumns reads the table at path, "-" for standard input. Of the options
// those about columns and the interval count.
func ReadColumns(ctx context.Context, path string, o Options) (*Columns, error) {
	in, err := Open(ctx, path, os.Stdin)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	t, err := NewTable(in.Name, in)
	if err != nil {
		return nil, err
	}
	s, err := newTableSource(t, &o)
	if err != nil {
		return nil, err
	}
	c := &Columns{Values: make([][]float64, len(s.Columns)), Text: map[string][]string{}, Interval: s.Interval, Skipped: s.Skipped}
	for k := range s.Dimensions {
		c.Names = append(c.Names, s.Dimensions[k].Name)
	}
	others := s.others()
	var row Sample
	for {
		switch err := s.next(&row); {
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil:
			return nil, err
		}
		c.At = append(c.At, row.At)
		for k, v := range row.Raw {
			c.Values[k] = append(c.Values[k], v)
		}
		if s.labelled() {
			c.Label = append(c.Label, string(row.Label))
		}
		for _, i := range others {
			name := t.Header[i]
			c.Text[name] = append(c.Text[name], string(t.Cells()[i]))
		}
	}
}

// others are the columns with a name that are no dimensions, time or label.
func (s *tableSource) others() []int {
	taken := make([]bool, len(s.t.Header))
	for _, i := range s.Columns {
		taken[i] = true
	}
	var others []int
	for i, name := range s.t.Header {
		if name != "" && !taken[i] && i != s.Time && i != s.Label {
			others = append(others, i)
		}
	}
	return others
}
