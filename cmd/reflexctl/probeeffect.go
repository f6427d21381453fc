// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// finding is a requirement, and what the lack of it costs.
type finding struct {
	requirement
	// Program is the BPF program that it is.
	Program *program `json:"program,omitempty"`
	// For are the dimensions that it is for.
	For []string `json:"for,omitempty"`
	// Unused says that it is there and not made use of unless configured.
	Unused bool `json:"unused,omitempty"`
	// Absent are those that nobody reads; Instead, who reads the others.
	Absent  []string     `json:"absent,omitempty"`
	Instead []substitute `json:"instead,omitempty"`
	// Price is what that costs; Without, what cannot be done, where it is not
	// dimensions.
	Price   string `json:"price,omitempty"`
	Without string `json:"without,omitempty"`
}

// program is a BPF program and what it costs, as published (docs/benchmarks.md).
type program struct {
	Name string `json:"name"`
	Per  string `json:"per"` // event
	NS   int64  `json:"ns"`
}

// substitute is a file that takes a program's place.
type substitute struct {
	File       string   `json:"file"`
	MaxAge     float64  `json:"max_age_seconds"`
	Dimensions []string `json:"dimensions"`
}

// dimension is who reads a dimension: a program, a file, or nobody.
type dimension struct {
	Name    string  `json:"name"`
	Program string  `json:"program,omitempty"`
	File    string  `json:"file,omitempty"`
	MaxAge  float64 `json:"max_age_seconds"`
}

// verdict is the whole in two lines.
type verdict struct {
	// Summary says who reads how much.
	Summary string `json:"summary"`
	// First is what to do before anything else; empty where nothing is missing.
	First string `json:"first,omitempty"`
	// For is the name of the requirement that First would meet.
	For string `json:"for,omitempty"`
}

// withoutIt says what a guard cannot do without a requirement (docs/privileges.md).
var withoutIt = map[string]string{
	"cgroup v2":           "nobody can be contained: observe mode",
	"memory controller":   "memory cannot be contained: observe mode",
	"writable cgroup v2":  "no limit can be set: observe mode",
	"CAP_SYS_ADMIN":       "no lease can be recorded, so none is granted: observe mode",
	"CAP_DAC_READ_SEARCH": "the tree is searched for a cgroup's id: slower, and closed directories stay unseen",
}

// explain fills in what q is for and, if it is missing, what that costs.
func (q *finding) explain(src *sources.Sources) {
	need, _ := sources.NeedOf(q.Name)
	if p := need.Program; p.Name != "" {
		q.Program = &program{Name: p.Name, Per: p.Event, NS: p.Cost.Nanoseconds()}
	}
	for _, f := range need.Node {
		q.For = append(q.For, arc.NodeFields[f].Name)
	}
	for _, f := range need.Cgroup {
		q.For = append(q.For, arc.CgroupFields[f].Name)
	}
	effect := src.EffectOf(q.Name)
	if q.Present {
		q.Unused = q.Program != nil && len(q.For) > 0 && len(effect.Absent) == len(q.For)
		return
	}
	q.Absent, q.Price = effect.Absent, effect.Price
	for _, s := range effect.Instead {
		q.Instead = append(q.Instead, substitute{s.File, s.Age.Seconds(), s.Dimensions})
	}
}

// dimensionsOf lists who reads what.
func dimensionsOf(src *sources.Sources) []dimension {
	all := make([]dimension, 0, len(src.NodeOrigins)+len(src.CgroupOrigins))
	add := func(name string, o sources.Origin) {
		all = append(all, dimension{Name: name, Program: o.Program, File: o.File, MaxAge: o.Age.Seconds()})
	}
	for f, o := range src.NodeOrigins {
		add(arc.NodeFields[f].Name, o)
	}
	for f, o := range src.CgroupOrigins {
		add(arc.CgroupFields[f].Name, o)
	}
	return all
}

// decide sums up. What to do first is what concerns most dimensions, and of
// equals the one probed first, since it is likely the cause of the others.
func (r *report) decide() verdict {
	v := verdict{Summary: "node: " + r.count(arc.NodeFields[:]) + "; cgroups: " + r.count(arc.CgroupFields[:])}
	most := -1
	for _, q := range r.Observe.Requirements {
		if concerned := len(q.Absent) + len(q.Instead); !q.Present && q.Remedy != "" && concerned > most {
			most, v.First, v.For = concerned, q.Remedy, q.Name
		}
	}
	for _, q := range r.Enforce.Requirements {
		if !q.Present && q.Remedy != "" && v.First == "" {
			v.First, v.For = q.Remedy, q.Name
		}
	}
	return v
}

// count says by whom some dimensions are read.
func (r *report) count(fields []arc.Field) string {
	origins := map[string]dimension{}
	for _, d := range r.Dimensions {
		origins[d.Name] = d
	}
	unused := map[string]bool{}
	for _, q := range r.Observe.Requirements {
		for _, name := range q.For {
			unused[name] = unused[name] || q.Unused
		}
	}
	for _, q := range r.Optional.Requirements {
		for _, name := range q.For {
			unused[name] = true
		}
	}
	var programs, files, off, absent int
	for _, f := range fields {
		switch d := origins[f.Name]; {
		case d.Program != "":
			programs++
		case d.File != "":
			files++
		case unused[f.Name]:
			off++
		default:
			absent++
		}
	}
	parts := []string{fmt.Sprintf("of %d dimensions %d by BPF", len(fields), programs), fmt.Sprintf("%d from files", files)}
	if off > 0 {
		parts = append(parts, fmt.Sprintf("%d off by default", off))
	}
	return strings.Join(append(parts, fmt.Sprintf("%d absent", absent)), ", ")
}

// age says how old a substitute is.
func (s *substitute) age() string {
	if s.MaxAge == 0 {
		return "as fresh"
	}
	return "up to " + time.Duration(s.MaxAge*float64(time.Second)).String() + " old"
}
