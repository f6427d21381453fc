// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestHistoryHoldsCounters(t *testing.T) {
	type row struct{ id, cpu uint64 }
	for name, tc := range map[string]struct {
		sweeps [][]row
		want   []row // of the last sweep
	}{
		"growth passes": {
			[][]row{{{1, 10}, {2, 20}}, {{1, 11}, {2, 20}}},
			[]row{{1, 11}, {2, 20}},
		},
		"a step back is held": {
			[][]row{{{1, 10}, {2, 20}}, {{1, 9}, {2, 25}}},
			[]row{{1, 10}, {2, 25}},
		},
		"and held for more than one sweep": {
			[][]row{{{1, 10}}, {{1, 5}}, {{1, 6}}},
			[]row{{1, 10}},
		},
		"a cgroup is known by its id when others come and go": {
			[][]row{{{1, 10}, {2, 20}, {3, 30}}, {{1, 10}, {9, 1}, {3, 29}, {2, 19}}},
			[]row{{1, 10}, {9, 1}, {3, 30}, {2, 20}},
		},
		"a cgroup that left starts anew": {
			[][]row{{{1, 10}, {2, 20}}, {{1, 10}}, {{1, 10}, {2, 5}}},
			[]row{{1, 10}, {2, 5}},
		},
		"absent is no value to be held": {
			[][]row{{{1, arc.Absent}}, {{1, 5}}},
			[]row{{1, 5}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var h history
			var s arc.Sweep
			for _, rows := range tc.sweeps {
				s.Reset()
				for _, r := range rows {
					s.Set(arc.CgroupCPUTime, s.Append(r.id, 0), r.cpu)
				}
				h.hold(&s)
			}
			var got []row
			for i, id := range s.ID {
				got = append(got, row{id, s.Value(arc.CgroupCPUTime, i)})
			}
			assert.Equal(t, tc.want, got)
		})
	}
}
