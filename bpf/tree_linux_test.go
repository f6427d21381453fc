// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestTreeAddsWhatIsPendingBelow(t *testing.T) {
	// 1 ─ 2 ─ 3
	//   │   └ 4
	//   └ 5
	rows := []cgroupCgroupRow{
		{Id: 1, Parent: 0, Cpu: 1e6},
		{Id: 2, Parent: 1, Cpu: 100, CpuPending: 1, CpuUnpropagated: 10},
		{Id: 3, Parent: 2, Cpu: 50, CpuPending: 2, CpuUnpropagated: 20},
		{Id: 4, Parent: 2, Cpu: 40, CpuPending: 3},
		{Id: 5, Parent: 1, Cpu: arc.Absent, CpuPending: 4},
	}
	cpu := make([]uint64, len(rows))
	var live tree
	for range 2 { // reused
		for i := range rows {
			cpu[i] = rows[i].Cpu
		}
		live.addPending(rows, cpu)
		assert.Equal(t, []uint64{1e6, 100 + 1 + 2 + 20 + 3, 50 + 2, 40 + 3, arc.Absent}, cpu)
	}
}

func TestTreeOfASubtree(t *testing.T) {
	rows := []cgroupCgroupRow{
		{Id: 7, Parent: 3, Cpu: 100, CpuPending: 5},
		{Id: 8, Parent: 7, Cpu: 10, CpuPending: 6, CpuUnpropagated: 7},
	}
	cpu := []uint64{100, 10}
	new(tree).addPending(rows, cpu)
	assert.Equal(t, []uint64{100 + 5 + 6 + 7, 16}, cpu)
}
