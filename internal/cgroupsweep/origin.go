// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupsweep

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// File returns the file of a cgroup from which a column is read, and how old the
// value is at most when a sweep repeats it. Columns that are not read have none.
func File(f arc.CgroupField) (name string, age time.Duration) {
	switch f {
	case arc.CgroupMemoryUsage:
		return fileNames[fileMemoryCurrent], readInterval.Round(100 * time.Millisecond)
	case arc.CgroupMemoryHigh:
		name = fileNames[fileMemoryHigh]
	case arc.CgroupMemoryMax:
		name = fileNames[fileMemoryMax]
	case arc.CgroupMemorySwap:
		name = fileNames[fileSwapCurrent]
	case arc.CgroupPids:
		name = fileNames[filePidsCurrent]
	case arc.CgroupPidsMax:
		name = fileNames[filePidsMax]
	case arc.CgroupPressureCPUSome:
		name = fileNames[fileCPUPressure]
	case arc.CgroupPressureMemorySome, arc.CgroupPressureMemoryFull:
		name = fileNames[fileMemoryPressure]
	case arc.CgroupPressureIOSome, arc.CgroupPressureIOFull:
		name = fileNames[fileIOPressure]
	default:
		for _, column := range cpuColumns {
			if column.field == f {
				name = fileNames[fileCPUStat]
			}
		}
		if name == "" {
			return "", 0
		}
	}
	return name, (slowTurns * readInterval).Round(time.Second)
}
