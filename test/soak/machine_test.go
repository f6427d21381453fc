// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	tick = int64(100e6)
	mib  = uint64(1 << 20)
)

// machine makes the tape of a machine with three services, a slice above them, and
// builds that come and go.
func machine(seed uint64, ticks int) *Tape {
	random := rand.New(rand.NewPCG(seed, 0))
	t := &Tape{Name: fmt.Sprintf("machine-%d", seed), paths: map[uint64]string{1: "/", 2: "/system.slice"}, born: map[uint64]int64{}}
	var node arc.Node
	for f := range node {
		node[f] = 100 * random.Float64()
	}
	node[arc.NodeMemoryTotal] = float64(2048 * mib)
	totals := map[uint64]*[arc.NumCgroupFields]uint64{}
	build := uint64(0)
	for i := range ticks {
		s := arc.Sample{Source: "ebpf", Sequence: uint64(i + 1), Interval: tick, Scheduled: 1e12 + int64(i)*tick, WallTime: 1.7e18 + int64(i)*tick}
		s.Taken = s.Scheduled + random.Int64N(1e6)
		for f, field := range arc.NodeFields {
			if field.Kind == arc.Counter {
				node[f] += random.Float64() * 0.05
			}
		}
		switch i % 600 {
		case 300:
			build = 100 + uint64(i)
		case 500:
			build = 0
		}
		used := uint64(0)
		s.Cgroups.Append(1, 0)
		s.Cgroups.Append(2, 1)
		for id := range uint64(3) {
			s.Cgroups.Append(10+id, 2)
			t.paths[10+id] = fmt.Sprintf("/system.slice/service-%d.service", id)
		}
		if build > 0 {
			s.Cgroups.Append(build, 1)
			t.paths[build] = fmt.Sprintf("/build-%d.scope", build)
		}
		for row, id := range s.Cgroups.ID {
			if totals[id] == nil {
				totals[id] = &[arc.NumCgroupFields]uint64{}
			}
			for f := range arc.NumCgroupFields {
				if arc.CgroupFields[f].Kind == arc.Counter {
					totals[id][f] += random.Uint64N(1e6)
					s.Cgroups.Set(f, row, totals[id][f])
				}
			}
			usage := uint64(float64(80*mib) * (1 + 0.02*math.Sin(float64(i)/500+float64(id))))
			if id > 2 {
				used += usage
			}
			s.Cgroups.Set(arc.CgroupMemoryUsage, row, usage)
			s.Cgroups.Set(arc.CgroupMemoryAnon, row, usage)
			s.Cgroups.Set(arc.CgroupMemoryUnreclaimable, row, usage)
			s.Cgroups.Set(arc.CgroupMemoryFile, row, 0)
			s.Cgroups.Set(arc.CgroupMemoryMax, row, arc.Unlimited)
			s.Cgroups.Set(arc.CgroupMemoryHigh, row, arc.Unlimited)
			s.Cgroups.Set(arc.CgroupPids, row, 3)
		}
		for row := range 2 {
			s.Cgroups.Set(arc.CgroupMemoryUsage, row, used)
		}
		s.Node = node
		s.Node[arc.NodeMemoryUsed] = float64(used)
		s.Node[arc.NodeMemoryAvailable] = node[arc.NodeMemoryTotal] - float64(used)
		t.add(&s)
	}
	return t
}
