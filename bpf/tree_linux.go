// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import "github.com/otelcol-reflex/reflex/internal/arc"

// tree makes CPU times live. The kernel adds up a cgroup's time from its
// descendants only when somebody asks (cgroup_base_stat_flush in
// kernel/cgroup/rstat.c); until then it lies about as two remainders: what
// tasks of a cgroup used and the cgroup has not taken over yet, per CPU, and
// what a cgroup took over and its parent has not. So
//
//	live(c) = flushed(c) + sub(c)
//	sub(c)  = pending(c) + Σ over children d: sub(d) + unpropagated(d)
//
// Asking the kernel instead takes a global lock and, before 6.16, adds up every
// memory statistic as well.
type tree struct {
	parent []int32  // row of the parent, -1 for none
	sub    []uint64 // ns
}

// addPending adds sub to each CPU time. Parents come before their children.
func (t *tree) addPending(rows []cgroupCgroupRow, cpu []uint64) {
	t.parent, t.sub = t.parent[:0], t.sub[:0]
	for i := range rows {
		// The parent is the previous row or one of that row's ancestors.
		p := int32(i) - 1
		for p >= 0 && rows[p].Id != rows[i].Parent {
			p = t.parent[p]
		}
		t.parent = append(t.parent, p)
		t.sub = append(t.sub, rows[i].CpuPending)
	}
	for i := len(rows) - 1; i >= 0; i-- {
		if p := t.parent[i]; p >= 0 {
			t.sub[p] += t.sub[i] + rows[i].CpuUnpropagated
		}
		// The hierarchy's root takes its time from the system's.
		if cpu[i] != arc.Absent && rows[i].Parent != 0 {
			cpu[i] += t.sub[i]
		}
	}
}
