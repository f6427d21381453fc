// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package movers

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

type row struct{ id, usage, cpu uint64 }

func sweep(rows ...row) *arc.Sweep {
	s := &arc.Sweep{}
	for _, r := range rows {
		i := s.Append(r.id, 1)
		s.Set(arc.CgroupMemoryUsage, i, r.usage)
		s.Set(arc.CgroupCPUTime, i, r.cpu)
	}
	return s
}

func ids(s *arc.Sweep, rows []int) (got []uint64) {
	for _, i := range rows {
		got = append(got, s.ID[i])
	}
	return got
}

func TestRank(t *testing.T) {
	before := sweep(row{1, 100, 10}, row{2, 200, 20}, row{3, 300, 30}, row{4, 400, 40}, row{5, 500, 50})
	for _, tt := range []struct {
		name string
		n    int
		now  *arc.Sweep
		want []uint64
	}{
		{"nobody moved", 4, before, nil},
		{"growth and shrinkage count alike", 2, sweep(row{1, 150, 10}, row{2, 100, 20}, row{3, 301, 30}), []uint64{1, 2}},
		{"half are chosen by activity", 2, sweep(row{1, 900, 10}, row{2, 800, 20}, row{3, 300, 31}), []uint64{1, 3}},
		{"no place is left empty by a calm half", 4, sweep(row{1, 101, 10}, row{2, 202, 20}, row{3, 303, 30}, row{4, 404, 40}, row{5, 505, 50}), []uint64{2, 3, 4, 5}},
		{"who leads both lists counts once", 2, sweep(row{1, 900, 99}, row{2, 210, 20}, row{3, 301, 30}), []uint64{1, 2}},
		{"a newcomer moved by all it has", 1, sweep(row{1, 110, 10}, row{2, 200, 20}, row{9, 50, 0}), []uint64{9}},
		{"a counter that went back did not move", 2, sweep(row{1, 100, 0}, row{2, 200, 21}), []uint64{2}},
		{"none are asked for", 0, sweep(row{1, 101, 10}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := New(tt.n)
			r.Rank(before)
			assert.Equal(t, tt.want, ids(tt.now, r.Rank(tt.now)))
		})
	}
}

func TestWhoLeavesIsForgotten(t *testing.T) {
	r := New(2)
	r.Rank(sweep(row{1, 100, 0}, row{2, 200, 0}))
	r.Rank(sweep(row{1, 100, 0}))
	assert.Len(t, r.previous, 1)
	back := sweep(row{1, 100, 0}, row{2, 200, 0})
	assert.Equal(t, []uint64{2}, ids(back, r.Rank(back)))
}

func TestAMissingColumnDoesNotMove(t *testing.T) {
	r := New(2)
	s := &arc.Sweep{}
	s.Append(1, 0)
	assert.Empty(t, r.Rank(s))
	assert.Empty(t, r.Rank(s))
}

func BenchmarkRank1000(b *testing.B) {
	s := &arc.Sweep{}
	for id := range uint64(1000) {
		s.Append(id+1, 1)
	}
	r := New(20)
	b.ReportAllocs()
	var n uint64
	for b.Loop() {
		n++
		for i := range s.Len() {
			s.Set(arc.CgroupMemoryUsage, i, n*uint64(i))
			s.Set(arc.CgroupCPUTime, i, n*uint64(1000-i))
		}
		r.Rank(s)
	}
}
