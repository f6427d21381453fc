// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupstat

import "github.com/otelcol-reflex/reflex/internal/arc"

// parseIO adds up the lines of io.stat, one a block device. An empty file is no
// I/O.
func (r *Reader) parseIO(text []byte, s *arc.Sweep, row int) {
	var readBytes, writeBytes, reads, writes uint64
	for io, rest, ok := r.devices.Next(text); ok; io, rest, ok = r.devices.Next(rest) {
		readBytes, writeBytes = readBytes+io.ReadBytes, writeBytes+io.WriteBytes
		reads, writes = reads+io.Reads, writes+io.Writes
	}
	s.Set(arc.CgroupReadBytes, row, readBytes)
	s.Set(arc.CgroupWriteBytes, row, writeBytes)
	s.Set(arc.CgroupReadOperations, row, reads)
	s.Set(arc.CgroupWriteOperations, row, writes)
}
