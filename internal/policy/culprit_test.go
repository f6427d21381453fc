// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// TestAnyLoneCulpritIsFound draws one culprit of any size for each resource,
// beside innocents of any size, some of whom wait because of it.
func TestAnyLoneCulpritIsFound(t *testing.T) {
	onset := 20 * time.Second
	for name, tt := range map[string]struct {
		want   []arc.Action
		within time.Duration
		plant  func(rt *rapid.T, p *plant)
	}{
		"pids": {[]arc.Action{arc.ActionPidsMax}, 2 * time.Second, func(rt *rapid.T, p *plant) {
			p.mostTasks, p.forks = 3000, from(onset, float64(rapid.IntRange(80, 300).Draw(rt, "forks")))
		}},
		"cpu": {[]arc.Action{arc.ActionCPUWeight, arc.ActionCPUMax}, 8 * time.Second, func(rt *rapid.T, p *plant) {
			p.cpu = from(onset, float64(rapid.IntRange(4, 64).Draw(rt, "cpu")))
		}},
		"reads": {[]arc.Action{arc.ActionIOWeight, arc.ActionIOMaxRead}, 8 * time.Second, func(rt *rapid.T, p *plant) {
			p.reads = from(onset, float64(rapid.IntRange(400, 5000).Draw(rt, "reads"))*mb)
		}},
		"writes": {[]arc.Action{arc.ActionIOWeight, arc.ActionIOMaxWrite}, 8 * time.Second, func(rt *rapid.T, p *plant) {
			p.writes = from(onset, float64(rapid.IntRange(400, 5000).Draw(rt, "writes"))*mb)
		}},
		"network": {[]arc.Action{arc.ActionNetworkThrottle}, 8 * time.Second, func(rt *rapid.T, p *plant) {
			p.sends = from(onset, float64(rapid.IntRange(200, 2000).Draw(rt, "sends"))*1000)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				culprit := &group{id: 10, path: "/culprit.service"}
				tt.plant(rt, &culprit.plant)
				groups := []*group{culprit, service()}
				for i := range rapid.IntRange(0, 3).Draw(rt, "innocents") {
					cpu, reads := rapid.Float64Range(0.01, 0.3).Draw(rt, "cpu"), rapid.Float64Range(0, 10*mb).Draw(rt, "reads")
					groups = append(groups, &group{id: uint64(20 + i), path: fmt.Sprintf("/innocent%d.service", i), plant: plant{
						cpu: func(time.Duration) float64 { return cpu }, reads: func(time.Duration) float64 { return reads }, tasks: 10,
					}})
				}
				cfg := isolating(LevelIsolation)
				w := newWorld(t, cfg, groups...)
				w.anomalous = after(onset)
				w.run(onset + tt.within)
				require.NotEmpty(t, w.orders, "not found: %s", w.story())
				for _, o := range w.orders {
					require.Equal(t, uint64(10), o.Cgroup, "an innocent was touched: %s", w.story())
					require.Contains(t, tt.want, o.Action)
				}
			})
		})
	}
}
