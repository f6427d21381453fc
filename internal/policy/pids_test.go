// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// bomb doubles its tasks every 200 ms from 10 s on.
func bomb() *group {
	g := &group{id: 10, path: "/user.service", plant: plant{tasks: 10}}
	g.forks = func(at time.Duration) float64 {
		if at < 10*time.Second {
			return 0
		}
		return g.tasks * math.Ln2 / 0.2
	}
	return g
}

func TestForkBombIsHeldAtWhatItHas(t *testing.T) {
	cfg := DefaultConfig()
	cfg.NodeTasks = 32768
	g := bomb()
	g.born = 1e12 + 9e9 // a bomb has just started, as a rule
	w := newWorld(t, cfg, g, service())
	w.anomalous = after(10 * time.Second)
	at := w.runUntil(13*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Less(t, at, 12*time.Second+500*time.Millisecond)
	require.Equal(t, []arc.Action{arc.ActionPidsMax}, w.actions())
	assert.GreaterOrEqual(t, w.orders[0].Parameter, uint64(g.tasks)-1, "never below what it has")
	w.run(60 * time.Second)
	assert.Less(t, g.tasks, 32768.0)
	assert.Positive(t, g.refused)
	granted := w.of(Answered)[0]
	assert.Equal(t, HarmTasksNode, granted.Harm.Kind)
	assert.Equal(t, "{task}", granted.Harm.Kind.Unit())
	assert.Contains(t, granted.Reason, "forks")
}

func TestTasksOfALimitedCgroupAreHeldBeforeTheLimit(t *testing.T) {
	g := &group{id: 10, path: "/leak.service", plant: plant{tasks: 100, mostTasks: 4000, forks: from(10*time.Second, 100)}}
	w := newWorld(t, DefaultConfig(), g, service())
	w.anomalous = after(10 * time.Second)
	w.runUntil(20*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, HarmTasksLimit, w.of(LevelChanged)[1].Harm.Kind)
	assert.Less(t, w.orders[0].Parameter, g.mostTasks, "only tighter")
}

func TestForksThatRunNothingOutAreLeftAlone(t *testing.T) {
	for name, g := range map[string]*group{
		"a service that starts its threads": {id: 10, path: "/jvm.service", plant: plant{mostTasks: 4915, forks: between(10*time.Second, 11*time.Second, 80)}},
		"far from every limit":              {id: 10, path: "/a.service", plant: plant{mostTasks: 30000, forks: from(10*time.Second, 100)}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, DefaultConfig(), g, service())
			w.anomalous = after(10 * time.Second)
			w.run(40 * time.Second)
			assert.Empty(t, w.orders, w.story())
		})
	}
}

func TestTasksMovedIntoACgroupAreNoForks(t *testing.T) {
	g := &group{id: 10, path: "/moved.scope", plant: plant{mostTasks: 4000, forks: from(10*time.Second, 200)}}
	w := newWorld(t, DefaultConfig(), g, service())
	w.anomalous = after(10 * time.Second)
	w.unforked = true
	w.run(20 * time.Second)
	assert.Empty(t, w.orders, w.story())
}
