// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import "github.com/otelcol-reflex/reflex/internal/arc"

// counters are the columns of a sweep that only grow.
var counters = [...]arc.CgroupField{
	arc.CgroupCPUTime,
	arc.CgroupPressureCPUSome,
	arc.CgroupPressureMemorySome,
	arc.CgroupPressureMemoryFull,
	arc.CgroupPressureIOSome,
	arc.CgroupPressureIOFull,
}

// history keeps counters from going back. A live value is what the kernel has
// added up plus what it has not yet; the second part is an estimate (a mean over
// CPUs, weighted by a time that is still running), and a sweep may fall in the
// middle of the kernel's own adding up. Either can make a value smaller than
// the one before for a moment: the earlier one then stands until it is passed.
type history struct {
	ids    []uint64
	values [][len(counters)]uint64
	spare  [][len(counters)]uint64
	index  map[uint64]int32 // row by id; only valid for ids when indexed
}

// hold raises every counter of s to at least its value in the last sweep.
func (h *history) hold(s *arc.Sweep) {
	if h.index == nil {
		h.index = make(map[uint64]int32)
	}
	h.spare = h.spare[:0]
	cursor, indexed := 0, false
	for i, id := range s.ID {
		// The order of cgroups is stable: almost always the next row.
		last := -1
		if cursor < len(h.ids) && h.ids[cursor] == id {
			last = cursor
		} else {
			if !indexed {
				h.buildIndex()
				indexed = true
			}
			if at, ok := h.index[id]; ok {
				last = int(at)
			}
		}
		var row [len(counters)]uint64
		for k, f := range counters {
			value := s.Columns[f][i]
			if last >= 0 {
				if before := h.values[last][k]; before != arc.Absent && value < before {
					value = before
					s.Columns[f][i] = value
				}
			}
			row[k] = value
		}
		h.spare = append(h.spare, row)
		if last >= 0 {
			cursor = last + 1
		}
	}
	h.values, h.spare = h.spare, h.values
	h.ids = append(h.ids[:0], s.ID...)
}

func (h *history) buildIndex() {
	clear(h.index)
	for i, id := range h.ids {
		h.index[id] = int32(i)
	}
}
