// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Device is a block device's number.
type Device struct{ Major, Minor uint32 }

// ParseDevice reads "major:minor".
func ParseDevice(text []byte) (Device, bool) {
	major, minor, found := bytes.Cut(text, []byte{':'})
	a, okMajor := ParseUint(major)
	b, okMinor := ParseUint(minor)
	return Device{uint32(a), uint32(b)}, found && okMajor && okMinor && a|b < 1<<32
}

// maxDevices bounds what is remembered about devices that come and go.
const maxDevices = 4096

// Devices knows which block devices count: those whose requests end there. To
// count a device that passes them on to another, or keeps them in memory, would
// count one request twice.
type Devices struct {
	sysroot string
	counted map[Device]bool
}

// NewDevices looks block devices up below sysroot, usually /sys.
func NewDevices(sysroot string) *Devices {
	return &Devices{sysroot: sysroot, counted: map[Device]bool{}}
}

// stacked are devices whose requests end up at another device, or in memory. Of
// others the kernel lists what they stand on.
var stacked = []string{"dm-", "md", "loop", "ram"}

// Counts reports whether the I/O of a device counts. It is looked up once a
// device; one that is not to be found counts.
func (d *Devices) Counts(id Device) bool {
	if known, ok := d.counted[id]; ok {
		return known
	}
	if len(d.counted) >= maxDevices {
		clear(d.counted)
	}
	link := filepath.Join(d.sysroot, "dev", "block", strconv.Itoa(int(id.Major))+":"+strconv.Itoa(int(id.Minor)))
	below, _ := os.ReadDir(filepath.Join(link, "slaves")) // absent for most
	counted := len(below) == 0
	if target, err := os.Readlink(link); err == nil {
		for _, prefix := range stacked {
			counted = counted && !strings.HasPrefix(filepath.Base(target), prefix)
		}
	}
	d.counted[id] = counted
	return counted
}

// IO is a line of io.stat. Discards are left out; they move no data.
type IO struct {
	Device                               Device
	ReadBytes, WriteBytes, Reads, Writes uint64
}

// Next reads the next line of io.stat whose device counts, and returns what
// follows it; ok is false where there is none:
//
//	8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0
func (d *Devices) Next(text []byte) (io IO, rest []byte, ok bool) {
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		name, fields, _ := bytes.Cut(line, []byte{' '})
		id, ok := ParseDevice(name)
		if !ok || !d.Counts(id) {
			continue
		}
		return IO{id, nested(fields, "rbytes="), nested(fields, "wbytes="), nested(fields, "rios="), nested(fields, "wios=")}, text, true
	}
	return IO{}, nil, false
}

// nested returns the number after key, which includes its equals sign, in a
// nested keyed line; 0 where there is none.
func nested(line []byte, key string) uint64 {
	for field := range bytes.FieldsSeq(line) {
		if text, ok := bytes.CutPrefix(field, []byte(key)); ok {
			v, _ := ParseUint(text)
			return v
		}
	}
	return 0
}
