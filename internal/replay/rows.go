// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"io"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// digits that numbers are written with, and shares of the distance.
const (
	digits      = 9
	shareDigits = 4
)

// rows writes judgements as CSV.
type rows struct {
	w        io.Writer
	row      []byte
	names    map[string]string // as written among contributions
	resource [][]byte          // by stream, as written
	many     bool
	labelled bool
}

func newRows(w io.Writer, s source) *rows {
	return &rows{w: w, names: map[string]string{}, many: s.many(), labelled: s.labelled()}
}

// header writes the names of the columns.
func (r *rows) header() error {
	text := "time,d2,score,limit,anomalous,velocity,acceleration,regime,contributions"
	if r.many {
		text = "resource," + text
	}
	if r.labelled {
		text += ",label"
	}
	_, err := io.WriteString(r.w, text+"\n")
	return err
}

// open takes in a stream that has begun.
func (r *rows) open(s Stream) {
	r.resource = append(r.resource, appendCell(nil, []byte(s.Resource)))
	for i := range s.Dimensions {
		name := s.Dimensions[i].Name
		r.names[name] = escape(name)
	}
}

// escaper keeps a name from looking like the end of one. What it writes for
// quotes, commas and line breaks saves the row from quoting its contributions.
var escaper = strings.NewReplacer("%", "%25", ";", "%3B", "=", "%3D", ",", "%2C", `"`, "%22", "\n", "%0A", "\r", "%0D")

func escape(name string) string { return escaper.Replace(name) }

// write writes one row.
func (r *rows) write(s *Sample, j *arc.Judgement) error {
	b := r.row[:0]
	if r.many {
		b = append(append(b, r.resource[s.Stream]...), ',')
	}
	b = appendCell(b, s.Time)
	b = appendNumber(b, j.Distance*j.Distance)
	b = appendNumber(b, j.Score)
	b = appendNumber(b, j.Limit)
	if j.Anomalous {
		b = append(b, ",1"...)
	} else {
		b = append(b, ",0"...)
	}
	b = appendNumber(b, j.Velocity)
	b = appendNumber(b, j.Acceleration)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(j.Regime), 10)
	b = append(b, ',')
	for k := range j.NumContributions {
		if k > 0 {
			b = append(b, ';')
		}
		c := &j.Contributions[k]
		name, ok := r.names[c.Dimension]
		if !ok {
			name = escape(c.Dimension)
		}
		b = append(append(b, name...), '=')
		b = strconv.AppendFloat(b, c.Share, 'g', shareDigits, 64)
	}
	if r.labelled {
		b = appendCell(append(b, ','), s.Label)
	}
	r.row = append(b, '\n')
	_, err := r.w.Write(r.row)
	return err
}

func appendNumber(b []byte, v float64) []byte {
	return strconv.AppendFloat(append(b, ','), v, 'g', digits, 64)
}

// appendCell appends a cell, in quotes where it needs them.
func appendCell(b, cell []byte) []byte {
	if bytes.IndexByte(cell, ',') < 0 && bytes.IndexByte(cell, '"') < 0 && bytes.IndexByte(cell, '\n') < 0 && bytes.IndexByte(cell, '\r') < 0 {
		return append(b, cell...)
	}
	b = append(b, '"')
	for _, c := range cell {
		if c == '"' {
			b = append(b, '"')
		}
		b = append(b, c)
	}
	return append(b, '"')
}
