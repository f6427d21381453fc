// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupstat

import (
	"bytes"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// memory is what is used of memory.stat, in bytes, faults excepted;
// [arc.Absent] where there is no such line.
type memory struct {
	anon, file, shmem, sock uint64
	kernel, slabReclaimable uint64 // kernel since 5.18
	slab, stack, tables     uint64 // with the two below, the kernel before
	percpu, vmalloc         uint64
	pageFaults, majorFaults uint64
}

// slot returns where the value of a line goes, nil where it is not used.
func (m *memory) slot(key []byte) *uint64 {
	switch string(key) {
	case "anon":
		return &m.anon
	case "file":
		return &m.file
	case "shmem":
		return &m.shmem
	case "sock":
		return &m.sock
	case "kernel":
		return &m.kernel
	case "slab_reclaimable":
		return &m.slabReclaimable
	case "slab_unreclaimable":
		return &m.slab
	case "kernel_stack":
		return &m.stack
	case "pagetables":
		return &m.tables
	case "percpu":
		return &m.percpu
	case "vmalloc":
		return &m.vmalloc
	case "pgfault":
		return &m.pageFaults
	case "pgmajfault":
		return &m.majorFaults
	}
	return nil
}

func parseMemory(text []byte, s *arc.Sweep, row int) {
	const no = arc.Absent
	m := memory{no, no, no, no, no, no, no, no, no, no, no, no, no}
	for len(text) > 0 {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		key, value, _ := bytes.Cut(line, []byte{' '})
		if slot := m.slot(key); slot != nil {
			if v, ok := cgroupfs.ParseUint(value); ok {
				*slot = v
			}
		}
	}
	s.Set(arc.CgroupMemoryAnon, row, m.anon)
	s.Set(arc.CgroupMemoryFile, row, m.file)
	s.Set(arc.CgroupMemoryUnreclaimable, row, m.unreclaimable())
	s.Set(arc.CgroupPageFaults, row, m.pageFaults)
	s.Set(arc.CgroupMajorFaults, row, m.majorFaults)
}

// unreclaimable is the memory that goes away only when its owner frees it, or to
// swap: anonymous and shared memory, network buffers, and kernel memory but for
// the slab that shrinkers can free. Locked page cache is not in it.
func (m *memory) unreclaimable() uint64 {
	if m.anon == arc.Absent {
		return arc.Absent
	}
	kernel := m.kernel
	if kernel == arc.Absent {
		kernel = sum(m.slab, m.stack, m.tables, m.percpu, m.vmalloc)
	} else {
		kernel -= min(kernel, sum(m.slabReclaimable))
	}
	return sum(m.anon, m.shmem, m.sock, kernel)
}

// sum adds what is there.
func sum(values ...uint64) uint64 {
	total := uint64(0)
	for _, v := range values {
		if v != arc.Absent {
			total += v
		}
	}
	return total
}
