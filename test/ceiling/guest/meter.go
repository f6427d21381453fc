// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// meter measures what a cgroup does from a start on.
type meter struct {
	group *stage.Cgroup
	since int64
	cpu   uint64 // µs
	full  uint64 // µs
}

func startMeter(g *stage.Cgroup) meter {
	m := meter{group: g, since: workload.Now()}
	m.cpu, m.full = m.read()
	return m
}

func (m *meter) read() (cpu, full uint64) {
	cpu, _ = m.group.Line("cpu.stat", "usage_usec")
	if text, err := readFile(filepath.Join(m.group.Dir, "memory.pressure")); err == nil {
		full, _ = fullTotal(text)
	}
	return cpu, full
}

// stop returns CPU time in CPUs, and the share of time in which every task waited for
// memory, until an instant.
func (m *meter) stop(until int64) (cpus, full float64) {
	cpu, stalled := m.read()
	us := max(float64(until-m.since)/1e3, 1)
	return float64(cpu-min(m.cpu, cpu)) / us, float64(stalled-min(m.full, stalled)) / us
}

// fullTotal reads the total of the line "full" of a pressure file, in µs.
func fullTotal(text string) (uint64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "full "); ok {
			_, total, _ := strings.Cut(strings.TrimSpace(rest), "total=")
			return strconv.ParseUint(total, 10, 64)
		}
	}
	return 0, fmt.Errorf("no line \"full\" in %q", text)
}

func readFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	return string(b), err
}
