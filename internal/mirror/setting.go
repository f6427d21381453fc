// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// unlimited is how systemd says infinity, and of a weight that it is not set.
const unlimited = math.MaxUint64

// setting is a property of units and the file that systemd writes it to
// (systemd.resource-control(5), org.freedesktop.systemd1(5)).
type setting struct {
	property string
	// name is the setting's, and so that of the drop-in file in which systemd keeps
	// it.
	name       string
	controller string
	file       string
	unset      uint64 // what the kernel shows where the property is not set
	read       func(text []byte) (uint64, bool)
}

// settings are all that systemd writes when it is told of one of them, as far as the
// kernel shows them. io.max, which has a line for every device, is not mirrored.
var settings = []setting{
	{"MemoryMin", "MemoryMin", "memory", "memory.min", 0, number},
	{"MemoryLow", "MemoryLow", "memory", "memory.low", 0, number},
	{"MemoryHigh", "MemoryHigh", "memory", "memory.high", unlimited, number},
	{"MemoryMax", "MemoryMax", "memory", "memory.max", unlimited, number},
	{"MemorySwapMax", "MemorySwapMax", "memory", "memory.swap.max", unlimited, number},
	{"MemoryZSwapMax", "MemoryZSwapMax", "memory", "memory.zswap.max", unlimited, number},
	{"CPUWeight", "CPUWeight", "cpu", "cpu.weight", 100, number},
	{"CPUQuotaPerSecUSec", "CPUQuota", "cpu", "cpu.max", unlimited, quota},
	{"IOWeight", "IOWeight", "io", "io.weight", 100, byDefault},
	{"TasksMax", "TasksMax", "pids", "pids.max", unlimited, number},
}

// idle is the CPUWeight that sets cpu.idle, since systemd 252.
const idle = 0

// mirrored are the knobs of leases and the properties that stand for them.
var mirrored = map[string]string{
	"memory.high": "MemoryHigh",
	"cpu.weight":  "CPUWeight",
	"cpu.idle":    "CPUWeight",
	"cpu.max":     "CPUQuotaPerSecUSec",
	"io.weight":   "IOWeight",
	"pids.max":    "TasksMax",
}

func settingOf(property string) setting {
	for _, s := range settings {
		if s.property == property {
			return s
		}
	}
	panic("mirror: there is no setting " + property) // mirrored names one that settings lacks
}

// known says whether a property is one that stands for a knob.
func known(property string) bool {
	for _, p := range mirrored {
		if p == property {
			return true
		}
	}
	return false
}

// says reports whether a drop-in of systemd's sets v and nothing else.
func (s *setting) says(text []byte, v uint64) bool {
	want := strconv.FormatUint(v, 10)
	switch {
	case s.file == "cpu.max":
		want = strconv.FormatUint(v/10_000, 10) + "%"
	case s.file == "cpu.weight" && v == idle:
		want = "idle"
	}
	set := 0
	found := false
	for line := range strings.Lines(string(text)) {
		name, value, is := strings.Cut(strings.TrimSpace(line), "=")
		if !is || strings.HasPrefix(name, "#") {
			continue
		}
		set++
		found = found || name == s.name && value == want
	}
	return set == 1 && found
}

// besides says whether a cgroup has something that systemd writes as well, has no number
// for, and would write otherwise.
func besides(dir string, properties map[string]any) error {
	for _, file := range []struct{ name, property, usual string }{
		{"cpuset.cpus", "AllowedCPUs", ""}, {"cpuset.mems", "AllowedMemoryNodes", ""}, {"cpu.max.burst", "", "0"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, file.name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		set, _ := properties[file.property].([]byte)
		if is := strings.TrimSpace(string(text)); is != file.usual && len(set) == 0 {
			return fmt.Errorf("%s is %q, of which the unit says nothing: somebody else writes there as well", file.name, is)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, period, _ := strings.Cut(strings.TrimSpace(string(text)), " "); err == nil && period != "100000" && !hasPeriod(properties) {
		err = fmt.Errorf("cpu.max has a period of %s µs, of which the unit says nothing: somebody else writes there as well", period)
	}
	return err
}

func hasPeriod(properties map[string]any) bool {
	period, is := properties["CPUQuotaPeriodUSec"].(uint64)
	return is && period != unlimited
}

// valueOf is what systemd is told of a lease.
func valueOf(l *guard.Lease) uint64 {
	if l.Knob == "cpu.idle" {
		return idle
	}
	return limit(l.Declared)
}

// originalOf is what a lease's property was before it, as the kernel showed it; known
// is false where the guard does not say.
func originalOf(l *guard.Lease) (v uint64, known bool) {
	if l.Knob == "cpu.idle" {
		v, known = l.Coupled["cpu.weight"]
		return v, known
	}
	return limit(l.Original), true
}

// shown is what the kernel shows where the property is v.
func (s *setting) shown(v uint64) uint64 {
	switch {
	case v == unlimited:
		return s.unset
	case s.controller == "memory":
		return cgroupfs.PageDown(v)
	}
	return v
}

// inForce reads the file below a cgroup's directory; known is false where there is none,
// as where the controller is not enabled.
func (s *setting) inForce(dir string) (v uint64, known bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, s.file))
	if errors.Is(err, os.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	v, known = s.read(bytes.TrimSpace(text))
	if !known {
		return 0, false, fmt.Errorf("%s: %q is not a setting", s.file, text)
	}
	return v, true, nil
}

func number(text []byte) (uint64, bool) {
	v, known := cgroupfs.ParseUint(text)
	return limit(v), known
}

func byDefault(text []byte) (uint64, bool) { return cgroupfs.Keyed(text, "default") }

// quota is in µs a second.
func quota(text []byte) (uint64, bool) {
	first, second, _ := bytes.Cut(text, []byte{' '})
	v, known := number(first)
	period, whole := cgroupfs.ParseUint(second)
	if !known || !whole || period == 0 {
		return 0, false
	}
	if v == unlimited {
		return v, true
	}
	return v * 1_000_000 / period, true
}

// limit says infinity as systemd does.
func limit(v uint64) uint64 {
	if v >= arc.Unlimited {
		return unlimited
	}
	return v
}

// whole refuses a cap on CPU time that systemd would not keep as it is: it knows whole
// percents of a CPU, and one period.
func whole(dir string, l *guard.Lease) error {
	if l.Knob != "cpu.max" {
		return nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return err
	}
	_, period, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if period != "100000" || l.Declared%10_000 != 0 {
		return finally("a quota of %d µs a second in periods of %s µs is none of systemd's", l.Declared, period)
	}
	return nil
}
