// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package procfs

import (
	"bytes"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// device is a block device's number.
type device struct{ major, minor uint64 }

// maxDevices bounds what is remembered about devices that come and go.
const maxDevices = 4096

// Columns of /proc/diskstats after the device's name, see
// Documentation/admin-guide/iostats.rst. Discards exist since 4.18, flushes
// since 5.5.
const (
	diskReads = iota
	_
	diskSectorsRead
	diskReadTime
	diskWrites
	_
	diskSectorsWritten
	diskWriteTime
	_
	_
	_
	diskDiscards
	_
	_
	diskDiscardTime
	diskFlushes
	diskFlushTime
	diskColumns
)

// sectorSize is the unit of the sector columns, whatever the device's own.
const sectorSize = 512

func (r *Reader) parseDiskstats(text []byte, into *arc.Node) {
	var operations, milliseconds, sectors uint64
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		major, rest := cutField(line)
		minor, rest := cutField(rest)
		name, rest := cutField(rest)
		var id device
		var okMajor, okMinor bool
		id.major, okMajor = number(major)
		id.minor, okMinor = number(minor)
		if !okMajor || !okMinor || !r.counts(id, name) {
			continue
		}
		var c [diskColumns]uint64
		numbers(rest, c[:])
		operations += c[diskReads] + c[diskWrites] + c[diskDiscards] + c[diskFlushes]
		milliseconds += c[diskReadTime] + c[diskWriteTime] + c[diskDiscardTime] + c[diskFlushTime]
		sectors += c[diskSectorsRead] + c[diskSectorsWritten]
	}
	r.set(into, arc.NodeBlockOperations, float64(operations))
	r.set(into, arc.NodeBlockTime, float64(milliseconds)/1e3)
	r.set(into, arc.NodeBlockBytes, float64(sectors)*sectorSize)
}

// stacked are devices whose requests end up at another device, or in memory;
// to count them would count one request twice.
var stacked = [][]byte{[]byte("dm-"), []byte("md"), []byte("loop"), []byte("ram")}

// counts reports whether a device's requests are counted: those of whole disks
// are, partitions repeat them. The answer is looked up once a device.
func (r *Reader) counts(id device, name []byte) bool {
	if known, ok := r.devices[id]; ok {
		return known
	}
	if len(r.devices) >= maxDevices {
		clear(r.devices)
	}
	whole := true
	for _, prefix := range stacked {
		if bytes.HasPrefix(name, prefix) {
			whole = false
		}
	}
	if whole {
		// A whole disk has a directory of its own; a partition's lies in its disk's.
		directory := filepath.Join(r.sysroot, "block", string(name))
		whole = unix.Access(directory, unix.F_OK) == nil
	}
	r.devices[id] = whole
	return whole
}

// Columns of /proc/net/dev after the interface's name (dev_seq_printf_stats in
// net/core/net-procfs.c).
const (
	netBytesReceived = iota
	netPacketsReceived
	netErrorsReceived
	netDropsReceived
	_
	_
	_
	_
	netBytesSent
	netPacketsSent
	netErrorsSent
	netDropsSent
	netColumns
)

func (r *Reader) parseNetDev(text []byte, into *arc.Node) {
	var sum [netColumns]uint64
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		name, rest, found := bytes.Cut(line, []byte(":"))
		if !found || string(bytes.TrimLeft(name, " ")) == "lo" {
			continue
		}
		var columns [netColumns]uint64
		if numbers(rest, columns[:]) < len(columns) {
			continue
		}
		for i, v := range columns {
			sum[i] += v
		}
	}
	r.set(into, arc.NodeBytesReceived, float64(sum[netBytesReceived]))
	r.set(into, arc.NodePacketsReceived, float64(sum[netPacketsReceived]))
	r.set(into, arc.NodeErrorsReceived, float64(sum[netErrorsReceived]))
	r.set(into, arc.NodeDropsReceived, float64(sum[netDropsReceived]))
	r.set(into, arc.NodeBytesSent, float64(sum[netBytesSent]))
	r.set(into, arc.NodePacketsSent, float64(sum[netPacketsSent]))
	r.set(into, arc.NodeErrorsSent, float64(sum[netErrorsSent]))
	r.set(into, arc.NodeDropsSent, float64(sum[netDropsSent]))
}

// parseSNMP finds the columns by their names in the "Tcp:" header line; the line
// of numbers follows it.
func (r *Reader) parseSNMP(text []byte, into *arc.Node) {
	for len(text) > 0 {
		var header []byte
		header, text = cutLine(text)
		if !bytes.HasPrefix(header, []byte("Tcp:")) {
			continue
		}
		values, _ := cutLine(text)
		for len(header) > 0 {
			var name, value []byte
			name, header = cutField(header)
			value, values = cutField(values)
			switch string(name) {
			case "RetransSegs":
				r.setNumber(into, arc.NodeTCPRetransmits, value)
			case "ActiveOpens":
				r.setNumber(into, arc.NodeTCPOpens, value)
			}
		}
		return
	}
}
