// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// What is unusual for one workload may be lost in the noise of its node.
func TestWhatAWorkloadHasNeverDoneIsAnAnomaly(t *testing.T) {
	once := func(at time.Duration) float64 { // 300 MB more, and back
		return between(time.Minute, time.Minute+10*time.Second, 30*mb)(at) - between(2*time.Minute, 2*time.Minute+10*time.Second, 30*mb)(at)
	}
	for name, tt := range map[string]struct {
		onset   time.Duration
		before  func(at time.Duration) float64 // growth
		swap    func(at time.Duration) float64
		leak    float64
		limit   uint64
		ordered bool
	}{
		"a leak":                              {11 * time.Minute, nil, nil, 50 * mb, gb, true},
		"a leak of who is not known for long": {8 * time.Minute, nil, nil, 50 * mb, gb, false},
		"a leak that is far from any limit":   {11 * time.Minute, nil, nil, 50 * mb, 100 * gb, false},
		"a little more than ever":             {11 * time.Minute, nil, nil, 8 * mb, 360 * mb, false},
		"back to where it was":                {11 * time.Minute, once, nil, 20 * mb, gb, false},
		"beyond that, with what it swaps":     {11 * time.Minute, once, between(5*time.Minute, time.Hour, 400*mb), 50 * mb, gb, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := &group{id: 10, path: "/a.service", limit: tt.limit, anon: 300 * mb, swap: tt.swap}
			leak := between(tt.onset, tt.onset+2*time.Second, tt.leak)
			g.leak = func(at time.Duration) float64 {
				if tt.before != nil && at < tt.onset {
					return tt.before(at)
				}
				return leak(at)
			}
			w := newWorld(t, DefaultConfig(), g, neighbour())
			w.run(tt.onset + 5*time.Second)
			assert.Equal(t, tt.ordered, len(w.orders) > 0, w.story())
			if opened := w.of(Opened); !tt.ordered {
				assert.Empty(t, opened)
			} else {
				require.Len(t, opened, 1)
				assert.Contains(t, opened[0].Reason, fmt.Sprintf("/a.service uses more memory than it ever has: it grows %.1f MB/s, ", tt.leak/mb))
			}
		})
	}
}

func TestWhoIsNotToBeHeldForItsMemoryOpensNoEpisodeWithIt(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Resources = Resources(0).With(CPU).With(IO).With(Tasks).With(Network)
	g := &group{id: 10, path: "/a.service", limit: gb, anon: 300 * mb, leak: between(11*time.Minute, 11*time.Minute+2*time.Second, 50*mb)}
	w := newWorld(t, cfg, g, neighbour())
	w.run(11*time.Minute + 5*time.Second)
	assert.Empty(t, w.events, w.story())
}

func TestWhatIsUsedInTroubleIsNoPast(t *testing.T) {
	table := newTable()
	n := newNews(table)
	var s arc.Sample
	for at := int64(0); at <= 15*60; at++ {
		s.Cgroups.Reset()
		row := s.Cgroups.Append(10, 0)
		trouble := at > 12*60
		usage := uint64(300 * mb)
		if trouble {
			usage = 900 * mb
		}
		s.Cgroups.Set(arc.CgroupMemoryUsage, row, usage)
		now := 1e12 + at*1e9
		table.observe(now, &s.Cgroups)
		n.observe(now, &s, !trouble)
		assert.Equal(t, trouble, n.tells(table.slots[10], now, usage))
	}
	for at := int64(15 * 60); at < 16*60; at++ { // it stays, and nobody is harmed
		table.observe(1e12+at*1e9, &s.Cgroups)
		n.observe(1e12+at*1e9, &s, true)
	}
	assert.False(t, n.tells(table.slots[10], 1e12+16*60*1e9, 900*mb))
	n.clear(table.slots[10])
	assert.False(t, n.tells(table.slots[10], 1e12+16*60*1e9, 2*gb), "who comes next is somebody else")
}
