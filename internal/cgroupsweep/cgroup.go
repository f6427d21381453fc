// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupsweep

import (
	"bytes"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// The files of a cgroup that are read.
const (
	fileMemoryCurrent = iota
	fileMemoryHigh
	fileMemoryMax
	fileCPUStat
	fileCPUPressure
	fileMemoryPressure
	fileIOPressure
	fileSwapCurrent
	filePidsCurrent
	filePidsMax
	numFiles
)

var fileNames = [numFiles]string{
	fileMemoryCurrent:  "memory.current",
	fileMemoryHigh:     "memory.high",
	fileMemoryMax:      "memory.max",
	fileCPUStat:        "cpu.stat",
	fileCPUPressure:    "cpu.pressure",
	fileMemoryPressure: "memory.pressure",
	fileIOPressure:     "io.pressure",
	fileSwapCurrent:    "memory.swap.current",
	filePidsCurrent:    "pids.current",
	filePidsMax:        "pids.max",
}

// cgroup is one cgroup with its open files; -1 is a file it does not have.
type cgroup struct {
	id, parent uint64
	walk       uint64
	gone       bool // removed since the last walk
	files      [numFiles]int
	values     [arc.NumCgroupFields]uint64
}

// openCgroup opens the files of the cgroup that is at path, and returns nil if
// that is not, or no longer, the cgroup with this id. Ids are never reused, so
// if the path names the cgroup before and after, it did in between.
func openCgroup(path string, id uint64) *cgroup {
	c := &cgroup{id: id}
	for i, name := range fileNames {
		c.files[i] = -1
		if fd, err := unix.Open(path+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
			c.files[i] = fd
		}
	}
	for f := range c.values {
		c.values[f] = arc.Absent
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Ino != id {
		c.close()
		return nil
	}
	return c
}

func (c *cgroup) close() {
	for i, fd := range c.files {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		c.files[i] = -1
	}
}

// readFast reads what changes from one sweep to the next, and notices that the
// cgroup is gone.
func (c *cgroup) readFast(buf []byte) {
	text, err := c.read(fileMemoryCurrent, buf)
	c.gone = errors.Is(err, unix.ENODEV)
	c.values[arc.CgroupMemoryUsage] = arc.Absent
	if v, ok := cgroupfs.ParseUint(text); err == nil && ok {
		c.values[arc.CgroupMemoryUsage] = v
	}
}

// readSlow reads all other columns.
func (c *cgroup) readSlow(buf []byte) {
	c.readNumber(arc.CgroupMemoryHigh, fileMemoryHigh, buf)
	c.readNumber(arc.CgroupMemoryMax, fileMemoryMax, buf)
	c.readNumber(arc.CgroupMemorySwap, fileSwapCurrent, buf)
	c.readNumber(arc.CgroupPids, filePidsCurrent, buf)
	c.readNumber(arc.CgroupPidsMax, filePidsMax, buf)
	c.readCPU(buf)
	c.readPressure(fileCPUPressure, arc.CgroupPressureCPUSome, arc.NumCgroupFields, buf)
	c.readPressure(fileMemoryPressure, arc.CgroupPressureMemorySome, arc.CgroupPressureMemoryFull, buf)
	c.readPressure(fileIOPressure, arc.CgroupPressureIOSome, arc.CgroupPressureIOFull, buf)
}

// cpuColumns are the columns from cpu.stat, and what a unit of it is here.
var cpuColumns = [...]struct {
	field arc.CgroupField
	key   string
	unit  uint64
}{
	{arc.CgroupCPUTime, "usage_usec", 1000},
	{arc.CgroupCPUPeriods, "nr_periods", 1},
	{arc.CgroupCPUThrottledPeriods, "nr_throttled", 1},
	{arc.CgroupCPUThrottledTime, "throttled_usec", 1000},
}

func (c *cgroup) readCPU(buf []byte) {
	text, err := c.read(fileCPUStat, buf)
	for _, column := range cpuColumns {
		c.values[column.field] = arc.Absent
		if v, ok := cgroupfs.Keyed(text, column.key); err == nil && ok {
			c.values[column.field] = v * column.unit
		}
	}
}

// readNumber reads a file that holds one number, or "max".
func (c *cgroup) readNumber(f arc.CgroupField, file int, buf []byte) {
	c.values[f] = arc.Absent
	if text, err := c.read(file, buf); err == nil {
		if v, ok := cgroupfs.ParseUint(text); ok {
			c.values[f] = v
		}
	}
}

// readPressure reads the totals of a PSI file, µs there and ns here.
func (c *cgroup) readPressure(file int, some, full arc.CgroupField, buf []byte) {
	c.values[some] = arc.Absent
	if full < arc.NumCgroupFields {
		c.values[full] = arc.Absent
	}
	text, err := c.read(file, buf)
	if err != nil {
		return
	}
	for line := range bytes.Lines(text) {
		_, total, found := bytes.Cut(line, []byte("total="))
		if !found {
			continue
		}
		v, ok := cgroupfs.ParseUint(total)
		switch {
		case !ok:
		case bytes.HasPrefix(line, []byte("some")):
			c.values[some] = v * 1000
		case bytes.HasPrefix(line, []byte("full")) && full < arc.NumCgroupFields:
			c.values[full] = v * 1000
		}
	}
}

func (c *cgroup) read(file int, buf []byte) ([]byte, error) {
	if c.files[file] < 0 {
		return nil, unix.ENOENT
	}
	for {
		n, err := unix.Pread(c.files[file], buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}
