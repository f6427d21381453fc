// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// What a job takes when it begins, in a cgroup that has long been there, is waited for
// as at the start of a service.
func TestWhatAJobTakesAtFirstIsWaitedFor(t *testing.T) {
	const onset = 60 * time.Second
	for name, tt := range map[string]struct {
		starts    float64 // tasks, beside the 4 that are there
		limit     uint64
		contained bool // before
		from, to  time.Duration
	}{
		"a job":                          {30, gb, false, 7 * time.Second, 13 * time.Second},
		"nobody new":                     {0, gb, false, 0, 2 * time.Second},
		"some more of a pool":            {7, gb, false, 0, 2 * time.Second},
		"a job, and no time left":        {30, 500 * mb, false, 2 * time.Second, 5 * time.Second},
		"a job of who was contained":     {30, gb, true, 0, 2 * time.Second},
		"a job that ends before its due": {-1, gb, false, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			until, starts := hours, tt.starts
			if starts < 0 {
				until, starts = onset+3*time.Second, 30
			}
			g := &group{id: 10, path: "/runner.service", limit: tt.limit, anon: 300 * mb, plant: plant{tasks: 4, mostTasks: 10_000}}
			g.leak = between(onset, until, 40*mb)
			g.forks = between(onset, onset+500*time.Millisecond, 2*starts)
			w := newWorld(t, DefaultConfig(), g, neighbour())
			w.anomalous = after(onset)
			if tt.contained {
				w.run(time.Second)
				w.policy.history.of(10, "", w.now).graceless[Memory] = w.now + int64(time.Hour)
			}
			if tt.to == 0 {
				w.run(onset + 20*time.Second)
				require.Empty(t, w.orders, w.story())
				return
			}
			at := w.runUntil(onset+20*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
			require.NotEmpty(t, w.orders, w.story())
			assert.GreaterOrEqual(t, at-onset, tt.from)
			assert.LessOrEqual(t, at-onset, tt.to)
		})
	}
}

// A service that is started again begins nothing beside itself: its grace is another
// matter.
func TestWhoIsStartedAgainIsNoJob(t *testing.T) {
	table := newTable()
	j := newJobs(table)
	w := &world{}
	is := func(tasks uint64) bool {
		w.now += int64(time.Second)
		s := &w.sample
		s.Cgroups.Reset()
		i := s.Cgroups.Append(10, 0)
		s.Cgroups.Set(arc.CgroupPids, i, tasks)
		table.observe(w.now, &s.Cgroups)
		j.observe(w.now, s)
		return j.begun(table.slots[10], w.now)
	}
	for _, tasks := range []uint64{8, 8, 8, 0} {
		require.False(t, is(tasks))
	}
	assert.False(t, is(40))
	for range 12 {
		is(40)
	}
	assert.True(t, is(90), "and this is one")
}
