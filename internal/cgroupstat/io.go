// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupstat

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// parseIO adds up the lines of io.stat, one a block device:
//
//	8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0
//
// Discards are left out; they move no data. An empty file is no I/O.
func (r *Reader) parseIO(text []byte, s *arc.Sweep, row int) {
	var readBytes, writeBytes, reads, writes uint64
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		name, rest, _ := bytes.Cut(line, []byte{' '})
		id, ok := parseDevice(name)
		if !ok || !r.devices.counts(id) {
			continue
		}
		readBytes += value(rest, "rbytes=")
		writeBytes += value(rest, "wbytes=")
		reads += value(rest, "rios=")
		writes += value(rest, "wios=")
	}
	s.Set(arc.CgroupReadBytes, row, readBytes)
	s.Set(arc.CgroupWriteBytes, row, writeBytes)
	s.Set(arc.CgroupReadOperations, row, reads)
	s.Set(arc.CgroupWriteOperations, row, writes)
}

// value returns the number after key, which includes its equals sign, in a
// nested keyed line; 0 where there is none.
func value(line []byte, key string) uint64 {
	for len(line) > 0 {
		field := line
		if end := bytes.IndexByte(line, ' '); end >= 0 {
			field, line = line[:end], line[end+1:]
		} else {
			line = nil
		}
		if len(field) > len(key) && string(field[:len(key)]) == key {
			v, _ := cgroupfs.ParseUint(field[len(key):])
			return v
		}
	}
	return 0
}

// device is a block device's number.
type device struct{ major, minor uint32 }

func parseDevice(text []byte) (device, bool) {
	major, minor, found := bytes.Cut(text, []byte{':'})
	a, okMajor := cgroupfs.ParseUint(major)
	b, okMinor := cgroupfs.ParseUint(minor)
	return device{uint32(a), uint32(b)}, found && okMajor && okMinor
}

// maxDevices bounds what is remembered about devices that come and go.
const maxDevices = 4096

// devices knows which devices count.
type devices struct {
	sysroot string
	counted map[device]bool
}

// stacked are devices whose requests end up at another device, or in memory; to
// count them would count one request twice.
var stacked = []string{"dm-", "md", "loop", "ram"}

// counts reports whether the I/O of a device counts. It is looked up once a
// device; one that is not to be found counts.
func (d *devices) counts(id device) bool {
	if known, ok := d.counted[id]; ok {
		return known
	}
	if len(d.counted) >= maxDevices {
		clear(d.counted)
	}
	counted := true
	link := filepath.Join(d.sysroot, "dev", "block", strconv.Itoa(int(id.major))+":"+strconv.Itoa(int(id.minor)))
	if target, err := os.Readlink(link); err == nil {
		for _, prefix := range stacked {
			counted = counted && !strings.HasPrefix(filepath.Base(target), prefix)
		}
	}
	d.counted[id] = counted
	return counted
}
