// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"slices"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Needs returns what every requirement that this package can name is for. It is
// made of the tables by which the programs are read: parts, probes,
// syscallFields, trafficFields, columnsOf and columns.
func Needs() []Need {
	sampled := sampledFields()
	counted := countedFields()
	node := slices.Concat(sampled, counted, syscallFields)
	needs := []Need{
		{Requirement: "BTF", Node: node, Cgroup: columns[:]},
		{Requirement: "CAP_BPF", Node: node, Cgroup: columns[:]},
		{Requirement: "CAP_PERFMON", Node: node, Cgroup: columns[:]},
		{Requirement: "cgroup v2", Cgroup: columns[:]},
		{Requirement: "PSI", Node: stalls[:]},
		{Requirement: "tp_btf", Node: counted}, // all of them
		{Requirement: requirementNetAdmin, Kept: true, Cgroup: trafficFields[:opensField]},
	}
	for _, p := range parts {
		needs = append(needs, Need{Requirement: p.name, Node: p.fields})
	}
	for _, p := range Programs {
		n := Need{Requirement: p.Section, Program: p}
		switch p.Name {
		case "sample_node":
			n.Node = sampled
		case "sweep_cgroup":
			n.Cgroup = columns[:]
		case "count_syscall":
			n.Node = syscallFields
		case "count_received":
			n.Kept, n.Cgroup = true, trafficFields[:opensField]
		case "count_sent":
			continue // the same requirement
		case "count_open":
			n.Kept, n.Cgroup = true, trafficFields[opensField:]
		default:
			n.Node = probeOf(p.Name).fields
		}
		needs = append(needs, n)
	}
	for name, fields := range columnsOf {
		needs = append(needs, Need{Requirement: name, Kept: true, Cgroup: fields})
	}
	return needs
}

// sampledFields are what the program of the node fills, the rest what events do.
func sampledFields() []arc.NodeField {
	fields := slices.Clone(stalls[:])
	for _, p := range parts {
		fields = append(fields, p.fields...)
	}
	return fields
}

func countedFields() []arc.NodeField {
	var fields []arc.NodeField
	for _, p := range probes {
		fields = append(fields, p.fields...)
	}
	return fields
}

// probeOf is the probe that a program belongs to, or an empty one.
func probeOf(program string) probe {
	for _, p := range probes {
		if slices.Contains(p.programs, program) {
			return p
		}
	}
	return probe{}
}
