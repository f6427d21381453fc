// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupsweep"
	"github.com/otelcol-reflex/reflex/internal/procfs"
)

// Origin says where a dimension is read: by a program or from a file. With
// neither it is absent.
type Origin struct {
	// Program is the section of a BPF program.
	Program string
	// File is a path in /proc, or the name of a file that every cgroup has.
	File string
	// Age is how old a value is at its tick, at most; 0 as fresh as the tick.
	Age time.Duration
}

// Absent says that the dimension is not read.
func (o Origin) Absent() bool { return o.Program == "" && o.File == "" }

// String names the program or the file.
func (o Origin) String() string { return o.Program + o.File }

// originsOfNode notes who reads a dimension of the node: the program that has
// filled it at the first reading, else the file that did.
func (s *Sources) originsOfNode(first *arc.Node, files []procfs.File) {
	for _, n := range bpf.Needs() {
		for _, f := range n.Node {
			if n.Program.Name != "" && !math.IsNaN(first[f]) {
				s.NodeOrigins[f] = Origin{Program: n.Requirement}
			}
		}
	}
	for _, file := range files {
		for _, f := range file.Fields {
			s.NodeOrigins[f] = Origin{File: file.Path, Age: file.Age}
		}
	}
}

// originsOfCgroups notes who reads the columns of a cgroup: the iterator, or else
// files; who counts traffic, if somebody does; and that nobody reads what the
// machine does not keep.
func (s *Sources) originsOfCgroups(iterator, traffic bool) {
	if iterator {
		for _, f := range bpfNeed("iter/cgroup").Cgroup {
			s.CgroupOrigins[f] = Origin{Program: "iter/cgroup"}
		}
	} else {
		for i := range s.CgroupOrigins {
			name, age := cgroupsweep.File(arc.CgroupField(i))
			s.CgroupOrigins[i] = Origin{File: name, Age: age}
		}
	}
	if traffic {
		for _, r := range bpf.TrafficRequirements {
			for _, f := range bpfNeed(r).Cgroup {
				s.CgroupOrigins[f] = Origin{Program: r}
			}
		}
	}
	for name, fields := range LookedAt {
		for _, f := range fields {
			s.CgroupOrigins[f] = Origin{File: name, Age: LookAge}
		}
	}
	for _, m := range s.Missing {
		need, _ := NeedOf(m.Name)
		for _, f := range need.Cgroup {
			if need.Kept {
				s.CgroupOrigins[f] = Origin{}
			}
		}
	}
}

// originsOfSyscalls notes that system calls are counted.
func (s *Sources) originsOfSyscalls(cycle DutyCycle) {
	for _, f := range bpfNeed("tp_btf/sys_enter").Node {
		s.NodeOrigins[f] = Origin{Program: "tp_btf/sys_enter", Age: cycle.Period + cycle.Window}
	}
}

// Effect is what the lack of a requirement costs.
type Effect struct {
	// Absent are the dimensions that nobody reads, by name.
	Absent []string
	// Instead are the files that take the place of BPF.
	Instead []Substitute
	// Price is what these cost beyond what BPF does; empty where that is little.
	Price string
}

// sweepPrice is what it costs to read every cgroup's files at every tick.
const sweepPrice = "a sweep takes many times the CPU time of the iterator's (docs/benchmarks.md)"

// Substitute is a file that takes a program's place.
type Substitute struct {
	File       string
	Age        time.Duration
	Dimensions []string
}

// EffectOf returns what the lack of a requirement costs, as seen in who reads
// the dimensions that it is for.
func (s *Sources) EffectOf(requirement string) Effect {
	var e Effect
	need, _ := NeedOf(requirement)
	for _, f := range need.Node {
		e.note(arc.NodeFields[f].Name, s.NodeOrigins[f])
	}
	for _, f := range need.Cgroup {
		e.note(arc.CgroupFields[f].Name, s.CgroupOrigins[f])
		if name, _ := cgroupsweep.File(f); name != "" && s.CgroupOrigins[f].File == name {
			e.Price = sweepPrice
		}
	}
	return e
}

func (e *Effect) note(dimension string, o Origin) {
	switch {
	case o.Program != "":
		return
	case o.Absent():
		e.Absent = append(e.Absent, dimension)
		return
	}
	for i := range e.Instead {
		if e.Instead[i].File == o.File && e.Instead[i].Age == o.Age {
			e.Instead[i].Dimensions = append(e.Instead[i].Dimensions, dimension)
			return
		}
	}
	e.Instead = append(e.Instead, Substitute{o.File, o.Age, []string{dimension}})
}
