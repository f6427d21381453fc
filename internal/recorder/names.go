// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"maps"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// walkInstead is from how many unknown cgroups on one walk of the tree is
// cheaper than looking each of them up.
const walkInstead = 8

// names remembers the paths of cgroups. A cgroup keeps its path for life, so it
// is looked up once, and one that is gone by then stays without.
type names struct {
	from  sources.Names // nil where there are none
	known map[uint64]string
	now   map[uint64]bool // of the sweep, while forgetting
}

func newNames(from sources.Names) *names {
	return &names{from: from, known: map[uint64]string{}, now: map[uint64]bool{}}
}

// learn makes the cgroups of a sweep known, and now and then forgets those that
// are in it no longer.
func (n *names) learn(sweep *arc.Sweep) {
	if n.from == nil {
		return
	}
	var unknown []uint64
	for _, id := range sweep.ID {
		if _, ok := n.known[id]; !ok {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) >= walkInstead {
		_ = n.from.Walk(func(id, _ uint64, path string) error {
			n.known[id] = path
			return nil
		})
	}
	for _, id := range unknown {
		if _, ok := n.known[id]; !ok {
			n.known[id], _ = n.from.Path(id) // "": it is gone
		}
	}
	if len(n.known) > 2*sweep.Len()+walkInstead {
		n.forget(sweep.ID)
	}
}

func (n *names) forget(but []uint64) {
	clear(n.now)
	for _, id := range but {
		n.now[id] = true
	}
	maps.DeleteFunc(n.known, func(id uint64, _ string) bool { return !n.now[id] })
}

// path names a cgroup, "" where nobody knows.
func (n *names) path(id uint64) string { return n.known[id] }
