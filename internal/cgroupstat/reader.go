// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupstat

import (
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// memoryFields and ioFields are the columns that come from memory.stat and
// io.stat.
var (
	memoryFields = sources.LookedAt["memory.stat"]
	ioFields     = sources.LookedAt["io.stat"]
)

// Reader reads the files. It is for one goroutine.
type Reader struct {
	memory, io bool // wanted
	devices    *cgroupfs.Devices
	buf        []byte
}

// New returns a reader of the wanted columns; it looks block devices up below
// sysroot, usually /sys.
func New(sysroot string, wanted [arc.NumCgroupFields]bool) *Reader {
	some := func(f arc.CgroupField) bool { return wanted[f] }
	return &Reader{
		memory:  slices.ContainsFunc(memoryFields, some),
		io:      slices.ContainsFunc(ioFields, some),
		devices: cgroupfs.NewDevices(sysroot),
		buf:     make([]byte, 0, 4096),
	}
}

// Wanted says whether there is anything to read.
func (r *Reader) Wanted() bool { return r.memory || r.io }

// Clear gives a sweep the reader's columns, all [arc.Absent].
func (r *Reader) Clear(s *arc.Sweep) {
	for _, fields := range [...][]arc.CgroupField{memoryFields, ioFields} {
		for _, f := range fields {
			column := slices.Grow(s.Columns[f][:0], s.Len())[:s.Len()]
			for i := range column {
				column[i] = arc.Absent
			}
			s.Columns[f] = column
		}
	}
}

// Read fills the columns of a row from the files of its cgroup, after [Clear].
// What a cgroup does not have stays absent.
func (r *Reader) Read(d *cgroupfs.Dir, s *arc.Sweep, row int) {
	if r.memory {
		if text, ok := r.file(d, "memory.stat"); ok {
			parseMemory(text, s, row)
		}
	}
	if r.io {
		if text, ok := r.file(d, "io.stat"); ok {
			r.parseIO(text, s, row)
		}
	}
}

// file reads a file of the cgroup, if it can be read. The text is valid until
// the next call.
func (r *Reader) file(d *cgroupfs.Dir, name string) ([]byte, bool) {
	if !d.Exists(name) { // usual without the controller; an error would name the cgroup, which takes longer than the reading
		return nil, false
	}
	text, err := d.ReadFile(name, r.buf[:0])
	if cap(text) > cap(r.buf) {
		r.buf = text[:0]
	}
	return text, err == nil
}
