// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

const (
	// maxDevices bounds the block devices told apart for one cgroup; what goes to
	// others still counts.
	maxDevices = 8
	// maxStacked bounds the block devices remembered.
	maxStacked = 256
	// loopMajor is the major number of loop devices.
	loopMajor = 7
)

// moved is what a cgroup has moved to and from one block device.
type moved struct{ device, bytes uint64 }

// io reads io.stat. Devices that pass on to others (device mapper, md, loop) are
// left out: the kernel counts the same bytes again below.
func (i *inspector) io(o *opened, into *policy.Inspection) error {
	text, err := o.dir.ReadFile("io.stat", i.buf[:0])
	if err != nil {
		return fmt.Errorf("read io.stat of cgroup %d: %w", o.id, err)
	}
	busiest, before := uint64(0), o.moved
	o.moved = [maxDevices]moved{}
	devices := 0
	for line := range bytes.Lines(text) {
		device, rest, ok := device(line)
		if !ok || i.passesOn(device) {
			continue
		}
		read, write := valueOf(rest, "rbytes="), valueOf(rest, "wbytes=")
		into.ReadBytes, into.WriteBytes = into.ReadBytes+read, into.WriteBytes+write
		if devices == maxDevices {
			continue
		}
		o.moved[devices] = moved{device, read + write}
		devices++
		since := read + write
		for k := range before {
			if before[k].device == device && before[k].bytes <= since {
				since -= before[k].bytes
			}
		}
		if since > busiest {
			busiest, into.Device = since, device
		}
	}
	return nil
}

// device reads "major:minor " at the start of a line of io.stat.
func device(line []byte) (id uint64, rest []byte, ok bool) {
	number, rest, ok := bytes.Cut(line, []byte{' '})
	major, minor, colon := bytes.Cut(number, []byte{':'})
	a, first := cgroupfs.ParseUint(major)
	b, second := cgroupfs.ParseUint(minor)
	return a<<32 | b, rest, ok && colon && first && second && a != 0
}

// valueOf returns the number behind key in a line, 0 where there is none.
func valueOf(line []byte, key string) uint64 {
	for field := range bytes.FieldsSeq(line) {
		if text, ok := bytes.CutPrefix(field, []byte(key)); ok {
			v, _ := cgroupfs.ParseUint(text)
			return v
		}
	}
	return 0
}

// passesOn says that a block device has others below it.
func (i *inspector) passesOn(device uint64) bool {
	if device>>32 == loopMajor {
		return true
	}
	stacked, known := i.stacked[device]
	if !known {
		below, err := os.ReadDir(filepath.Join(i.sys, "dev/block", fmt.Sprintf("%d:%d", device>>32, device&0xffffffff), "slaves"))
		stacked = err == nil && len(below) > 0
		if len(i.stacked) < maxStacked {
			i.stacked[device] = stacked
		}
	}
	return stacked
}
