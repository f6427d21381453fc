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

// spentAnswer is what a guard says that does not hold the lease any more.
const spentAnswer = arc.RefusedSpent + ": its lease has ended, or it was decided before this guard started"

func TestALeaseThatTheGuardHasForgottenIsDecidedAnew(t *testing.T) {
	w := newWorld(t, DefaultConfig(), spinner(hours), service())
	w.anomalous = after(20 * time.Second)
	over := map[uint64]bool{} // what was decided before the guard was started again
	w.refuse = func(o arc.Order) (arc.Outcome, bool) {
		return arc.Outcome{Verdict: arc.VerdictRefused, Cause: spentAnswer}, over[o.Generation]
	}
	w.deaf = arc.ActionCPUWeight
	w.runUntil(40*time.Second, func(d *Decision) bool { return d.Level == LevelPressure })
	w.run(w.since() + 2*time.Second)
	first := w.actions()
	require.Equal(t, []arc.Action{arc.ActionCPUWeight, arc.ActionCPUMax}, first, w.story())
	for _, o := range w.orders {
		over[o.Generation] = true
	}
	clear(w.group(10).knobs) // it gave all of it back before it served
	restarted := w.since()
	w.run(restarted + 8*time.Second)
	assert.Len(t, w.actions(), 4, "each of them once: %s", w.story())
	assert.Len(t, w.group(10).knobs, 1, "and held again, but for what is without effect here")
	assert.Equal(t, LevelPressure, w.policy.level)
	assert.Equal(t, int64(1), w.policy.history.find(10).factor(), "it is the same containment, and no recurrence")
	for i := range w.policy.leases {
		assert.False(t, over[w.policy.leases[i].generation])
		assert.Equal(t, i == 0, w.policy.outranked(&w.policy.leases[i]), "and in the same order of release")
	}
}

func TestALeaseThatTheGuardNeverTakesIsGivenUp(t *testing.T) {
	w := newWorld(t, DefaultConfig(), spinner(hours), service())
	w.anomalous = after(20 * time.Second)
	w.refuse = func(arc.Order) (arc.Outcome, bool) {
		return arc.Outcome{Verdict: arc.VerdictRefused, Cause: spentAnswer}, true
	}
	w.run(60 * time.Second)
	assert.LessOrEqual(t, len(w.orders), 2*4, "no storm of orders: %s", w.story())
	assert.NotEmpty(t, w.orders)
}
