// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"errors"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// walkInstead is from how many unknown cgroups on one walk of the tree is
// cheaper than looking each of them up.
const walkInstead = 8

// identity is what a cgroup is called, and since when it is observed.
type identity struct {
	path, container, pod string
	unit                 string // where it is neither container nor pod
	start                int64  // CLOCK_BOOTTIME, ns
	sample               uint64 // in which it was last written
	lookDue              int64  // CLOCK_BOOTTIME, ns; before it a mover is not looked at again
}

// identities remembers the names of cgroups. A cgroup keeps its path for life,
// so a name is looked up once. What is remembered is bounded: cgroups that have
// left the sweep are forgotten at every full sweep, and all are when there are
// more than twice as many as a sweep may hold.
type identities struct {
	root  sources.Names // nil where there is none: cgroups then have no name but their id
	limit int
	known map[uint64]*identity
}

func newIdentities(root sources.Names, maxCgroups int) *identities {
	return &identities{root: root, limit: 2 * maxCgroups, known: map[uint64]*identity{}}
}

// of returns the identity of a cgroup, nil if it is not known.
func (ids *identities) of(id uint64) *identity { return ids.known[id] }

// resolve makes the identities of the rows of a sample known, those excepted
// that no longer exist.
func (ids *identities) resolve(s *arc.Sample, rows []int) {
	if len(ids.known) > ids.limit {
		clear(ids.known)
	}
	unknown := 0
	for _, row := range rows {
		if known := ids.known[s.Cgroups.ID[row]]; known != nil {
			known.sample = s.Sequence
		} else {
			unknown++
		}
	}
	if unknown == 0 {
		return
	}
	var paths map[uint64]string
	if ids.root != nil && unknown >= walkInstead {
		paths = ids.walk()
	}
	for _, row := range rows {
		id := s.Cgroups.ID[row]
		if ids.known[id] != nil {
			continue
		}
		if path, ok := ids.path(id, paths); ok {
			ids.add(id, path, s)
		}
	}
}

func (ids *identities) add(id uint64, path string, s *arc.Sample) {
	known := &identity{path: path, start: s.Taken, sample: s.Sequence}
	known.container, known.pod = cgroupfs.Identity(path)
	if known.container == "" && known.pod == "" {
		known.unit = cgroupfs.Unit(path)
	}
	ids.known[id] = known
}

// path looks a cgroup up. It is false for one that no longer exists; a path
// that cannot be had for any other reason is empty.
func (ids *identities) path(id uint64, walked map[uint64]string) (string, bool) {
	if ids.root == nil {
		return "", true
	}
	if walked != nil {
		path, ok := walked[id]
		return path, ok
	}
	path, err := ids.root.Path(id)
	return path, !errors.Is(err, cgroupfs.ErrGone)
}

func (ids *identities) walk() map[uint64]string {
	paths := map[uint64]string{}
	_ = ids.root.Walk(func(id, _ uint64, path string) error {
		paths[id] = path
		return nil
	})
	return paths
}

// forget drops what was not written in this sample, after a full sweep.
func (ids *identities) forget(sample uint64) {
	for id, known := range ids.known {
		if known.sample != sample {
			delete(ids.known, id)
		}
	}
}

func (ids *identities) close() {
	if ids.root != nil {
		_ = ids.root.Close()
	}
}
