// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/detect"
)

const (
	// head is how many rows decide what the columns are, how times are written,
	// and how far samples are apart.
	head = 100
	// tolerated is the part of a column's cells that may be no numbers: they are
	// then missing. One in such a column is always tolerated.
	tolerated = 0.05
	// without as the name of the time column says that there is none.
	without = "none"
)

// Columns that are taken for the time, and the label, when nothing else is
// said. The first that exists counts. None of them is a dimension.
var (
	timeNames = []string{"t", "time", "timestamp", "ts"}
	labelName = "label"
	splitName = "split"
)

// Skipped is a column that is no dimension although nobody said so.
type Skipped struct{ Name, Why string }

// Layout says what the columns of a table are.
type Layout struct {
	// Time and Label are indices of columns; -1: there is none.
	Time, Label int
	// Columns are the indices of the dimensions, Dimensions what they are.
	Columns    []int
	Dimensions []detect.Dimension
	Skipped    []Skipped
	// Interval is the time between samples.
	Interval time.Duration

	clock clock
}

// layout decides what the columns of t are, from what is asked and from the
// first rows.
func layout(t *Table, o *Options) (*Layout, error) {
	selection, err := ParseSelection(o.Dimensions)
	if err != nil {
		return nil, fmt.Errorf("dimensions: %w", err)
	}
	rows, err := t.peek(head)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s: has a header and no rows", t.Name)
	}
	l := &Layout{Interval: o.Interval}
	if l.Time, err = find(t, "time", o.Time, timeNames...); err != nil {
		return nil, err
	}
	if l.Label, err = find(t, "label", o.Label, labelName); err != nil {
		return nil, err
	}
	if err := l.dimensions(t, selection, rows); err != nil {
		return nil, err
	}
	if l.Time >= 0 {
		if err := l.readClock(t, rows); err != nil {
			return nil, err
		}
	}
	if l.Interval <= 0 {
		l.Interval = time.Second
	}
	return l, nil
}

// find returns the index of the column that is asked for, or of the first of
// the usual names, or -1.
func find(t *Table, role, asked string, usual ...string) (int, error) {
	switch {
	case asked == without:
		return -1, nil
	case asked != "":
		i := slices.Index(t.Header, asked)
		if i < 0 {
			return -1, fmt.Errorf("%s: has no column %q for the %s; its columns are %s", t.Name, asked, role, names(t.Header))
		}
		return i, nil
	}
	for _, name := range usual {
		if i := slices.Index(t.Header, name); i >= 0 {
			return i, nil
		}
	}
	return -1, nil
}

// names lists columns for an error, the first twenty.
func names(header []string) string {
	const most = 20
	if len(header) > most {
		return strings.Join(header[:most], ", ") + fmt.Sprintf(" and %d more", len(header)-most)
	}
	return strings.Join(header, ", ")
}

func (l *Layout) dimensions(t *Table, s Selection, rows []peekedRow) error {
	if name := s.unknown(t.Header); name != "" {
		return fmt.Errorf("%s: dimensions: %q is no column; the columns are %s", t.Name, name, names(t.Header))
	}
	for i, name := range t.Header {
		kind, _, taken := s.pick(name)
		exact := s.exact(name)
		if !taken || i == l.Time || i == l.Label {
			if exact && taken {
				return fmt.Errorf("%s: dimensions: column %q is the time or the label", t.Name, name)
			}
			continue
		}
		why, at := whyNot(name, i, rows)
		if why != "" && exact && at >= 0 {
			return fmt.Errorf("%s: line %d, column %q: %q is no number, as a dimension must be", t.Name, rows[at].line, name, rows[at].cells[i])
		}
		if why != "" && !exact {
			if name == "" {
				name = fmt.Sprintf("column %d", i+1)
			}
			l.Skipped = append(l.Skipped, Skipped{name, why})
			continue
		}
		d := detect.Free(name)
		d.Kind = kind
		l.Columns = append(l.Columns, i)
		l.Dimensions = append(l.Dimensions, d)
	}
	if len(l.Columns) == 0 {
		return fmt.Errorf("%s: line %d: no column is a dimension: none that is asked for holds numbers; the columns are %s", t.Name, rows[0].line, names(t.Header))
	}
	return nil
}

// whyNot says why a column is no dimension unless it is asked for by name, and
// which row shows that it holds no numbers.
func whyNot(name string, i int, rows []peekedRow) (why string, at int) {
	numbers, others := 0, 0
	at = -1
	for k := range rows {
		switch v, ok := parseNumber(rows[k].cells[i]); {
		case !ok:
			if at < 0 {
				at = k
			}
			others++
		case !math.IsNaN(v):
			numbers++
		}
	}
	switch {
	case others > numbers:
		return "text", at
	case name == "":
		return "it has no name", -1
	case slices.Contains(timeNames, name):
		return "a time", -1
	case strings.HasPrefix(name, labelName) || name == splitName:
		return "a label", -1
	case numbers == 0:
		return fmt.Sprintf("empty in the first %d rows", len(rows)), -1
	}
	return "", -1
}

func (l *Layout) readClock(t *Table, rows []peekedRow) error {
	cells := make([][]byte, len(rows))
	for k := range rows {
		cells[k] = rows[k].cells[l.Time]
	}
	var odd int
	if l.clock, odd = newClock(cells); odd >= 0 {
		return fmt.Errorf("%s: line %d, column %q: %q is no time: want seconds, milli-, micro- or nanoseconds since the epoch, or RFC 3339 (--time %s: there is no time column)",
			t.Name, rows[odd].line, t.Header[l.Time], bytes.TrimSpace(cells[odd]), without)
	}
	if l.Interval <= 0 {
		times := make([]int64, 0, len(cells))
		for _, cell := range cells {
			if ns, ok := l.clock.parse(cell); ok {
				times = append(times, ns)
			}
		}
		l.Interval = medianStep(times)
	}
	return nil
}

// medianStep is the median of the steps forward in times; 0 without any.
func medianStep(times []int64) time.Duration {
	var steps []int64
	for k := 1; k < len(times); k++ {
		if step := times[k] - times[k-1]; step > 0 {
			steps = append(steps, step)
		}
	}
	if len(steps) == 0 {
		return 0
	}
	slices.Sort(steps)
	return time.Duration(steps[(len(steps)-1)/2])
}
