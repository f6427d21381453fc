// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// disk is the one device that the fake kernel has.
const (
	disk     = uint64(8)<<32 | 16
	diskName = "8:16"
)

// unlimited are the files of a cgroup that its owner has set little of.
var unlimited = map[string]string{
	"memory.high": "max", "memory.max": "max", "memory.min": "0", "memory.low": "0",
	"cpu.weight": "50", "cpu.idle": "0", "cpu.max": "300000 100000", "cpu.max.burst": "20000",
	"io.weight": "default 100\n8:16 300", "io.max": "8:0 rbps=4096 wbps=max riops=max wiops=max\n8:16 rbps=max wbps=max riops=max wiops=120",
	"io.stat": "", "pids.max": "max", "pids.current": "40", "cgroup.freeze": "0",
	"cgroup.procs": "", "cgroup.type": "domain", "cgroup.events": "populated 1\nfrozen 0",
}

// write is what a kernel does when a file is written: what it refuses, and what
// else it changes (Linux 6.12, kernel/sched/core.c, block/blk-throttle.c,
// block/blk-iocost.c, kernel/cgroup/pids.c, and the burst as in 5.14).
func (m *machine) write(d *cgroupfs.Dir, name string, text []byte) error {
	path, err := d.Path()
	if err != nil {
		return unix.ENODEV
	}
	return m.kernel(path, name, strings.TrimSpace(string(text)))
}

func (m *machine) kernel(path, name, text string) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	get := func(file string) string {
		text, err := os.ReadFile(filepath.Join(m.dir, path, file))
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	put := func(file, text string) error { // readers see the old or the new
		next := filepath.Join(m.dir, path, ".next")
		if err := os.WriteFile(next, []byte(text+"\n"), 0o644); err != nil {
			return err
		}
		return os.Rename(next, filepath.Join(m.dir, path, file))
	}
	if get(name) == "" {
		return unix.ENOENT
	}
	number := func(text string, low, high uint64) bool {
		v, err := strconv.ParseUint(text, 10, 64)
		return err == nil && low <= v && v <= high
	}
	switch name {
	case "cpu.weight":
		switch {
		case get("cpu.idle") == "1":
			return unix.EINVAL
		case !number(text, 1, 10000):
			return unix.ERANGE
		}
	case "cpu.idle":
		if !number(text, 0, 1) {
			return unix.EINVAL
		}
		if text == get("cpu.idle") {
			return nil
		}
		if err := put("cpu.weight", map[string]string{"1": "0", "0": "100"}[text]); err != nil {
			return err
		}
	case "cpu.max":
		quota, period, _ := strings.Cut(text, " ")
		if period == "" {
			_, period, _ = strings.Cut(get(name), " ")
		}
		burst := get("cpu.max.burst")
		b, _ := strconv.ParseUint(burst, 10, 64)
		if !number(period, 1000, 1_000_000) || (quota != "max" && !number(quota, max(1000, b), 1<<44)) {
			return unix.EINVAL
		}
		if burst != "" {
			if err := put("cpu.max.burst", strconv.FormatUint(b/1000, 10)); err != nil {
				return err
			}
		}
		text = quota + " " + period
	case "io.weight":
		v, is := strings.CutPrefix(text, "default ")
		if !is || !number(v, 1, 10000) {
			return unix.EINVAL
		}
		if _, devices, more := strings.Cut(get(name), "\n"); more {
			text += "\n" + devices
		}
	case "io.max":
		var err error
		if text, err = limitDevice(get(name), text); err != nil {
			return err
		}
	case "pids.max":
		if text != "max" && !number(text, 0, 1<<22) {
			return unix.EINVAL
		}
	case "cgroup.freeze":
		if !number(text, 0, 1) {
			return unix.ERANGE
		}
		if err := put("cgroup.events", "populated 1\nfrozen "+text); err != nil {
			return err
		}
	}
	return put(name, text)
}

// limitDevice returns io.max after a write.
func limitDevice(before, text string) (string, error) {
	fields := strings.Fields(text)
	if fields[0] != diskName {
		return "", unix.ENODEV
	}
	limits := map[string]string{"rbps": "max", "wbps": "max", "riops": "max", "wiops": "max"}
	var lines []string
	set := func(fields []string) error {
		for _, f := range fields {
			key, value, _ := strings.Cut(f, "=")
			if _, known := limits[key]; !known || value == "0" {
				return unix.EINVAL
			}
			limits[key] = value
		}
		return nil
	}
	for line := range strings.Lines(before) {
		if f := strings.Fields(line); f[0] != diskName {
			lines = append(lines, strings.TrimSpace(line))
		} else if err := set(f[1:]); err != nil {
			return "", err
		}
	}
	if err := set(fields[1:]); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s rbps=%s wbps=%s riops=%s wiops=%s", diskName, limits["rbps"], limits["wbps"], limits["riops"], limits["wiops"])
	if strings.Count(line, "=max") < len(limits) {
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), nil
}

// files returns what is in every file of a cgroup.
func (m *machine) files(tb testing.TB, path string) map[string]string {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Join(m.dir, path))
	require.NoError(tb, err)
	all := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(m.dir, path, e.Name()))
		require.NoError(tb, err)
		all[e.Name()] = strings.TrimSuffix(string(text), "\n")
	}
	return all
}

// records returns the names of the lease records of a cgroup.
func (m *machine) records(id uint64) (names []string) {
	for action := range newKnobs() {
		if m.attribute(id, recordName(action)) != "" {
			names = append(names, action.String())
		}
	}
	slices.Sort(names)
	return names
}

// asked is what a test asks of each action at first, what the file is then, what
// it asks next, and what the file is after that.
var asked = []struct {
	action       arc.Action
	first        uint64
	file, turned string
	next         uint64
	moved        string
}{
	{arc.ActionMemoryHigh, 130 * mib, "memory.high", bytesOf(130 * mib), 140 * mib, bytesOf(140 * mib)},
	{arc.ActionCPUWeight, 10, "cpu.weight", "10", 5, "5"},
	{arc.ActionCPUIdle, 1, "cpu.idle", "1", 1, "1"},
	{arc.ActionCPUMax, 1_500_000, "cpu.max", "150000 100000", 700_000, "70000 100000"},
	{arc.ActionIOWeight, 30, "io.weight", "default 30\n8:16 300", 20, "default 20\n8:16 300"},
	{
		arc.ActionIOMaxRead, 3 * mib, "io.max", "8:0 rbps=4096 wbps=max riops=max wiops=max\n8:16 rbps=3145728 wbps=max riops=max wiops=120",
		2 * mib, "8:0 rbps=4096 wbps=max riops=max wiops=max\n8:16 rbps=2097152 wbps=max riops=max wiops=120",
	},
	{
		arc.ActionIOMaxWrite, 3 * mib, "io.max", "8:0 rbps=4096 wbps=max riops=max wiops=max\n8:16 rbps=max wbps=3145728 riops=max wiops=120",
		2 * mib, "8:0 rbps=4096 wbps=max riops=max wiops=max\n8:16 rbps=max wbps=2097152 riops=max wiops=120",
	},
	{arc.ActionPidsMax, 100, "pids.max", "100", 150, "150"},
	{arc.ActionFreeze, 1, "cgroup.freeze", "1", 1, "1"},
}

// order returns an order to hold.
func order(id uint64, action arc.Action, parameter uint64) arc.Order {
	o := hold(id, parameter)
	o.Action = action
	if newKnobs()[action].device() {
		o.Device = disk
	}
	return o
}

func releaseOrder(id uint64, action arc.Action) arc.Order {
	o := order(id, action, 0)
	o.Verb = arc.Release
	return o
}

func (m *machine) get(tb testing.TB, path, file string) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, path, file))
	require.NoError(tb, err)
	return strings.TrimSuffix(string(text), "\n")
}

// owner writes a file as another owner of the cgroup does.
func (m *machine) owner(tb testing.TB, path, file, text string) {
	tb.Helper()
	require.NoError(tb, m.kernel(path, file, text), "%s = %s", file, text)
}
