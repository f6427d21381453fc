// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"path/filepath"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// meter measures what the cgroups of an arm use, part by part.
type meter struct {
	groups []*stage.Cgroup
	since  int64             // CLOCK_BOOTTIME, ns
	cpu    map[string]uint64 // µs at since
}

// newMeter starts to measure.
func newMeter(groups []*stage.Cgroup) *meter {
	m := &meter{groups: groups, cpu: map[string]uint64{}}
	m.part(func(string, float64, uint64) {})
	return m
}

// part ends a part: take gets each cgroup's share of one CPU since the last, and
// its memory now.
func (m *meter) part(take func(name string, cpu float64, memory uint64)) {
	now := workload.Now()
	for _, g := range m.groups {
		name := filepath.Base(g.Dir)
		memory, _ := g.Number("memory.current")
		used, err := g.Line("cpu.stat", "usage_usec")
		if err != nil {
			continue
		}
		take(name, float64(used-m.cpu[name])*1000/float64(now-m.since), memory)
		m.cpu[name] = used
	}
	m.since = now
}

// calm and leak are the parts of an arm.
func (m *meter) calm(costs map[string]recording.Cost) {
	m.part(func(name string, cpu float64, memory uint64) {
		costs[name] = recording.Cost{CPUCalm: cpu, MemoryCalm: memory}
	})
}

func (m *meter) leak(costs map[string]recording.Cost) {
	m.part(func(name string, cpu float64, memory uint64) {
		c := costs[name]
		c.CPULeak, c.MemoryLeak = cpu, memory
		costs[name] = c
	})
}
