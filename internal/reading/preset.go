// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

// Presets.
const (
	// Node is the ebpf receiver's view of the node.
	Node = "node"
	// Cgroup is the ebpf receiver's view of each cgroup.
	Cgroup = "cgroup"
	// HostMetrics is for the host_metrics receiver's default names.
	HostMetrics = "host_metrics"
	// Custom is no dimension but those chosen one by one.
	Custom = "custom"
)

// Preset returns the dimensions of the preset called name.
func Preset(name string) ([]Dimension, error) {
	switch name {
	case Node:
		return nodeDimensions(), nil
	case Cgroup:
		return cgroupDimensions(), nil
	case HostMetrics:
		dims := make([]Dimension, len(hostMetrics))
		for i := range hostMetrics {
			dims[i] = hostMetrics[i].Dimension()
		}
		return dims, nil
	case Custom:
		return nil, nil
	default:
		return nil, fmt.Errorf("%q is not one of node, cgroup, host_metrics, custom", name)
	}
}

func nodeDimensions() []Dimension {
	known, fields := detect.NodeDimensions()
	dims := make([]Dimension, len(known))
	for i, d := range known {
		dims[i] = Dimension{Dimension: d, Metric: arc.NodeFields[fields[i]].Name}
	}
	return dims
}

const mebibyte = 1 << 20

// cgroupSources is the cgroup preset. Scales are where a dimension turns from
// noise to matter for a small service; floors follow those of the node. The limits
// of a cgroup are configuration and no behaviour, and the full pressures of a
// cgroup follow its some pressures too closely to say anything of their own.
var cgroupSources = [...]struct {
	field        arc.CgroupField
	kind         detect.Kind
	transform    detect.Transform
	scale, floor float64
}{
	{arc.CgroupMemoryUsage, detect.Level, detect.Log1p, 16 * mebibyte, 0.2},
	{arc.CgroupMemoryUsage, detect.Growth, detect.Asinh, mebibyte, 0.2},
	{arc.CgroupCPUTime, detect.Rate, detect.Log1p, 0.05, 0.375},
	{arc.CgroupPressureCPUSome, detect.Rate, detect.Log1p, 0.05, 0.525},
	{arc.CgroupPressureMemorySome, detect.Rate, detect.Log1p, 0.02, 0.3},
	{arc.CgroupPressureIOSome, detect.Rate, detect.Log1p, 0.1, 0.6},
}

func cgroupDimensions() []Dimension {
	dims := make([]Dimension, len(cgroupSources))
	for i, s := range cgroupSources {
		f := arc.CgroupFields[s.field]
		dims[i] = Dimension{Metric: f.Name, Dimension: detect.Dimension{
			Name: f.Name, Kind: s.kind, Transform: s.transform, Scale: s.scale, Floor: s.floor, Load: f.Load,
		}}
		if s.kind == detect.Growth {
			dims[i].Name += detect.GrowthSuffix
		}
	}
	return dims
}

// hostMetrics is the preset for the host_metrics receiver's default names. A
// dimension whose scraper or attribute is not there is absent.
var hostMetrics = []Config{
	{Metric: "system.cpu.time", Attributes: map[string]string{"state": "user"}, Kind: KindCounter, Scale: 0.5, Floor: 0.25, Load: 1},
	{Metric: "system.cpu.time", Attributes: map[string]string{"state": "system"}, Kind: KindCounter, Scale: 0.25, Floor: 0.25, Load: 1},
	{Metric: "system.cpu.time", Attributes: map[string]string{"state": "wait"}, Kind: KindCounter, Scale: 0.25, Floor: 0.4, Load: 1},
	{Metric: "system.memory.usage", Attributes: map[string]string{"state": "used"}, Kind: KindGauge, Scale: 64 * mebibyte, Floor: 0.2, Load: 1},
	{Metric: "system.memory.usage", Attributes: map[string]string{"state": "used"}, Kind: KindGrowth, Scale: 8 * mebibyte, Floor: 0.2, Load: 1},
	{Metric: "system.paging.faults", Kind: KindCounter, Scale: 4000, Floor: 0.4, Load: 1},
	{Metric: "system.paging.operations", Kind: KindCounter, Scale: 50, Floor: 0.4, Load: 1},
	{Metric: "system.processes.created", Kind: KindCounter, Scale: 20, Floor: 0.4, Load: 1},
	{Metric: "system.disk.io", Kind: KindCounter, Scale: 4 * mebibyte, Floor: 0.5, Load: 1},
	{Metric: "system.disk.operations", Kind: KindCounter, Scale: 100, Floor: 0.5, Load: 1},
	{Metric: "system.network.io", Attributes: map[string]string{"direction": "receive"}, Kind: KindCounter, Scale: mebibyte, Floor: 0.5, Load: 1},
	{Metric: "system.network.io", Attributes: map[string]string{"direction": "transmit"}, Kind: KindCounter, Scale: mebibyte, Floor: 0.5, Load: 1},
}
