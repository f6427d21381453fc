// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/policy"
)

// maxDevices bounds the block devices told apart for one cgroup; what goes to
// others still counts.
const maxDevices = 8

// moved is what a cgroup has moved to and from one block device.
type moved struct{ device, bytes uint64 }

// io reads io.stat.
func (i *inspector) io(o *opened, into *policy.Inspection) error {
	text, err := o.dir.ReadFile("io.stat", i.buf[:0])
	if err != nil {
		return fmt.Errorf("read io.stat of cgroup %d: %w", o.id, err)
	}
	busiest, before := uint64(0), o.moved
	o.moved = [maxDevices]moved{}
	devices := 0
	for line, rest, ok := i.devices.Next(text); ok; line, rest, ok = i.devices.Next(rest) {
		into.ReadBytes, into.WriteBytes = into.ReadBytes+line.ReadBytes, into.WriteBytes+line.WriteBytes
		if devices == maxDevices {
			continue
		}
		device, since := uint64(line.Device.Major)<<32|uint64(line.Device.Minor), line.ReadBytes+line.WriteBytes
		o.moved[devices] = moved{device, since}
		devices++
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
