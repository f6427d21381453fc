// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Dump writes a recording of ticks as CSV, for other programs: one row a tick with
// the columns of the node, or one a cgroup and tick with those of the cgroups.
// What is missing is an empty cell; no limit is "inf". What is wrong with a
// recording that ends early is in cut: all that there is of it has been written.
func Dump(in *Input, w io.Writer, cgroups bool) (cut, err error) {
	t, err := newTicks(in.Name, in, &Options{})
	if err != nil {
		return nil, err
	}
	d := &dump{ticks: t}
	write := d.node
	if cgroups {
		write = d.cgroups
	}
	d.header(cgroups)
	for {
		if _, err := w.Write(d.b); err != nil {
			return nil, fmt.Errorf("write rows: %w", err)
		}
		d.b = d.b[:0]
		switch err := t.advance(); {
		case errors.Is(err, io.EOF):
			return t.cut, nil
		case err != nil:
			return nil, err
		}
		write()
	}
}

// dump makes ticks rows.
type dump struct {
	*ticks
	b []byte
}

func (d *dump) header(cgroups bool) {
	first, fields := "time", arc.NodeFields[:]
	if cgroups {
		first, fields = "time,id,parent,path", arc.CgroupFields[:]
	}
	d.b = append(d.b, first...)
	for _, f := range fields {
		d.b = append(append(d.b, ','), f.Name...)
	}
	d.b = append(d.b, '\n')
}

func (d *dump) node() {
	d.b = append(d.b, d.time...)
	for _, v := range d.sample.Node {
		d.b = append(d.b, ',')
		if !math.IsNaN(v) {
			d.b = strconv.AppendFloat(d.b, v, 'f', -1, 64)
		}
	}
	d.b = append(d.b, '\n')
}

func (d *dump) cgroups() {
	sweep := &d.sample.Cgroups
	for row, id := range sweep.ID {
		d.b = append(append(d.b, d.time...), ',')
		d.b = append(strconv.AppendUint(d.b, id, 10), ',')
		d.b = append(strconv.AppendUint(d.b, sweep.Parent[row], 10), ',')
		d.b = appendCell(d.b, []byte(d.r.Path(id)))
		for f := range arc.CgroupFields {
			d.b = appendValue(append(d.b, ','), sweep.Value(arc.CgroupField(f), row), arc.CgroupFields[f].Unit)
		}
		d.b = append(d.b, '\n')
	}
}

// appendValue writes a value of a sweep in the unit of its field.
func appendValue(b []byte, v uint64, unit string) []byte {
	switch {
	case v == arc.Absent:
		return b
	case v >= arc.Unlimited:
		return append(b, "inf"...)
	case unit == "s": // a sweep holds nanoseconds
		return strconv.AppendFloat(b, float64(v)/1e9, 'f', -1, 64)
	default:
		return strconv.AppendUint(b, v, 10)
	}
}
