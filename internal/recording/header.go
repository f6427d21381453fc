// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	format = "reflex recording"
	// A reader of one major version reads every file of it: what a later minor
	// version adds can be skipped.
	major, minor = 1, 0
)

// Header is what a recording says about itself.
type Header struct {
	Format string `json:"format"`
	Major  int    `json:"major"`
	Minor  int    `json:"minor"`
	Description
	// Node and Cgroup are the columns, in the order of their streams.
	Node   []Column `json:"node"`
	Cgroup []Column `json:"cgroup"`
}

// Description is what the recorder knows of a recording before its first tick.
type Description struct {
	// Source is that of the samples.
	Source string `json:"source"`
	// Recorder is the program that recorded, and its version.
	Recorder string `json:"recorder,omitempty"`
	// Kernel is the release of the kernel.
	Kernel string `json:"kernel,omitempty"`
	// CPUs is the number of CPUs.
	CPUs int `json:"cpus,omitempty"`
	// Started is when recording began, in ns since the Unix epoch.
	Started int64 `json:"started_ns"`
	// Interval is the time between two ticks that was asked for, in ns.
	Interval int64 `json:"interval_ns"`
	// Missing is what the machine, or the privilege of the recorder, lacked.
	Missing []Missing `json:"missing,omitempty"`
}

// Missing is one thing that was not there.
type Missing struct {
	Name  string `json:"name"`
	Cause string `json:"cause,omitempty"`
}

// Column describes one column: its metric name, its unit (UCUM), and whether it
// is a counter or a gauge. A stored integer n stands for n / 10^Decimals units.
type Column struct {
	Name     string `json:"name"`
	Unit     string `json:"unit"`
	Kind     string `json:"kind"`
	Decimals int    `json:"decimals,omitempty"`
}

// seconds is the unit that is stored in ns.
const seconds = "s"

func column(f arc.Field) Column {
	c := Column{Name: f.Name, Unit: f.Unit, Kind: f.Kind.String()}
	if f.Unit == seconds {
		c.Decimals = 9
	}
	return c
}

// NodeColumns are the columns of the node in this version, by [arc.NodeField].
func NodeColumns() []Column {
	columns := make([]Column, 0, len(arc.NodeFields))
	for _, f := range arc.NodeFields {
		columns = append(columns, column(f))
	}
	return columns
}

// CgroupColumns are the columns of a cgroup in this version, by [arc.CgroupField].
func CgroupColumns() []Column {
	columns := make([]Column, 0, len(arc.CgroupFields))
	for _, f := range arc.CgroupFields {
		columns = append(columns, column(f))
	}
	return columns
}

func newHeader(d Description, node, cgroup []Column) *Header {
	return &Header{Format: format, Major: major, Minor: minor, Description: d, Node: node, Cgroup: cgroup}
}

// maxColumns bounds the columns of a file.
const maxColumns = 4096

func parseHeader(content []byte) (*Header, error) {
	h := &Header{}
	if err := json.Unmarshal(content, h); err != nil {
		return nil, fmt.Errorf("%w: its header is no JSON: %w", ErrDamaged, err)
	}
	if h.Format != format {
		return nil, fmt.Errorf("%w: its format is %q", ErrDamaged, h.Format)
	}
	if h.Major != major {
		return nil, fmt.Errorf("%w: it is %d.%d, this program reads %d", ErrUnsupported, h.Major, h.Minor, major)
	}
	if n := len(h.Node) + len(h.Cgroup); n > maxColumns {
		return nil, fmt.Errorf("%w: it claims to have %d columns", ErrDamaged, n)
	}
	return h, nil
}

// match says for each column of a file which of ours it is, -1 if none, and which
// are none. A column of another unit, kind or scale is another column, and a name
// that is there twice counts once.
func match(file, ours []Column) (fields []int, unknown []Column) {
	known := map[Column]int{}
	for i, c := range ours {
		known[c] = i
	}
	for _, c := range file {
		i, ok := known[c]
		delete(known, c)
		if !ok {
			i = -1
			unknown = append(unknown, c)
		}
		fields = append(fields, i)
	}
	return fields, unknown
}
