// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/cgroupstat"
	"github.com/otelcol-reflex/reflex/internal/sampler"
)

// Opener opens cgroups by their id; [cgroupfs.Root] is one.
type Opener interface {
	Open(id uint64) (*cgroupfs.Dir, error)
}

// closer is a sweep that looks closer: it reads what the policy would ask for of
// a suspect, of every cgroup at every tick. A directory stays open as long as its
// cgroup is there.
type closer struct {
	sampler.CgroupReader
	root   Opener
	reader *cgroupstat.Reader
	open   map[uint64]*cgroupfs.Dir
	sweeps uint64
	seen   map[uint64]uint64 // the sweep a cgroup was seen in last
}

// LookCloser makes sweeps fill the columns of memory.stat and io.stat, too. That
// costs two files a cgroup and tick, and makes the kernel add up what its CPUs keep
// to themselves. The caller calls what is returned after the last sweep.
func LookCloser(sweeps sampler.CgroupReader, root Opener) (sampler.CgroupReader, func()) {
	var wanted [arc.NumCgroupFields]bool
	wanted[arc.CgroupMemoryAnon], wanted[arc.CgroupReadBytes] = true, true
	c := &closer{
		CgroupReader: sweeps, root: root, reader: cgroupstat.New("/sys", wanted),
		open: map[uint64]*cgroupfs.Dir{}, seen: map[uint64]uint64{},
	}
	return c, c.close
}

// Sweep implements [sampler.CgroupReader].
func (c *closer) Sweep(into *arc.Sweep) error {
	err := c.CgroupReader.Sweep(into)
	c.sweeps++
	c.reader.Clear(into)
	for row, id := range into.ID {
		d := c.open[id]
		if d == nil {
			var gone error
			if d, gone = c.root.Open(id); gone != nil {
				continue
			}
			c.open[id] = d
		}
		c.seen[id] = c.sweeps
		c.reader.Read(d, into, row)
	}
	if len(c.open) > into.Len() {
		c.forget()
	}
	return err
}

// forget closes the cgroups that the last sweep did not see.
func (c *closer) forget() {
	for id, d := range c.open {
		if c.seen[id] != c.sweeps {
			d.Close()
			delete(c.open, id)
			delete(c.seen, id)
		}
	}
}

func (c *closer) close() {
	for _, d := range c.open {
		d.Close()
	}
	clear(c.open)
}
