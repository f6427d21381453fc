// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// contained is a world in which the payment service has just been contained.
func contained(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, DefaultConfig(), payment(), neighbour())
	w.anomalous = after(10 * time.Second)
	w.runUntil(15*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	w.run(w.since() + time.Second)
	require.Less(t, w.group(10).ceiling, arc.Unlimited)
	w.orders = nil
	return w
}

func holds(orders []arc.Order) (n int) {
	for _, o := range orders {
		if o.Verb == arc.Hold {
			n++
		}
	}
	return n
}

func TestAnOperatorsReleaseGivesBackAtTheNextTickAndNothingIsTakenAgain(t *testing.T) {
	w := contained(t)
	require.NoError(t, w.policy.Release(HandsOff{Cgroup: 10, Reason: "root: maintenance"}))
	w.tick()
	require.Len(t, w.orders, 1)
	assert.Equal(t, arc.Release, w.orders[0].Verb)
	assert.Equal(t, "released: root: maintenance", w.orders[0].Reason)
	assert.Equal(t, arc.Unlimited, w.group(10).ceiling)

	w.run(w.since() + 8*time.Second) // it goes on leaking, and the settling time is over
	assert.Zero(t, holds(w.orders), w.story())
	said := w.declined(CauseOperator)
	require.Len(t, said, 1, "once: %s", w.story())
	assert.Contains(t, said[0].Reason, "/system.slice/payment.service grows")
	assert.Contains(t, said[0].Reason, "an operator wants it left alone")
}

func TestHandsOffEndsWithItsTimeOrItsEpisode(t *testing.T) {
	w := contained(t)
	require.NoError(t, w.policy.Release(HandsOff{Cgroup: 10, Until: w.now + int64(4*time.Second), Reason: "root"}))
	until := w.since() + 4*time.Second
	at := w.runUntil(until+5*time.Second, func(*Decision) bool { return holds(w.orders) > 0 })
	assert.GreaterOrEqual(t, at, until, "not a tick before")
	assert.Less(t, at, until+time.Second, "but then: the leak is still there")

	w = contained(t)
	require.NoError(t, w.policy.Release(HandsOff{Cgroup: 10, Reason: "root"}))
	w.group(10).leak = nil
	w.anomalous = func(time.Duration) bool { return false }
	w.runUntil(3*time.Minute, func(d *Decision) bool { return d.Level == LevelNormal })
	w.tick()
	assert.Empty(t, w.policy.operator, "the episode is over, and so is the order")
	assert.Error(t, w.policy.Release(HandsOff{Cgroup: 10, Reason: "root"}), "there is no episode that it could end with")
}

func TestHandsOffFollowsTheWorkloadIntoItsNextCgroup(t *testing.T) {
	w := contained(t)
	require.NoError(t, w.policy.Release(HandsOff{Cgroup: 10, Until: w.now + int64(time.Hour), Reason: "root"}))
	w.tick()
	w.group(10).gone = true
	again := payment()
	again.id, again.parent, again.high, again.ceiling, again.born = 20, 1, arc.Unlimited, arc.Unlimited, 1
	w.groups = append(w.groups, again)
	w.run(w.since() + 10*time.Second)
	assert.Zero(t, holds(w.orders), w.story())
}

func TestHandsOffEverythingIsOfAnyCgroup(t *testing.T) {
	w := contained(t)
	second := neighbour()
	second.id, second.path, second.parent, second.limit, second.high, second.ceiling = 12, "/second.service", 1, gb, arc.Unlimited, arc.Unlimited
	second.leak = from(w.since(), 60*mb)
	require.NoError(t, w.policy.Release(HandsOff{All: true, Until: w.now + int64(time.Hour), Reason: "root"}))
	w.groups = append(w.groups, second)
	w.run(w.since() + 5*time.Second)
	assert.Zero(t, holds(w.orders), w.story())
	assert.Equal(t, arc.Unlimited, w.group(10).ceiling)
}

func TestAnOperatorsOrderIsRefusedWhereItCannotBeMeant(t *testing.T) {
	w := contained(t)
	for want, o := range map[string]HandsOff{
		"no cgroup":     {Until: 1 << 60},
		"at most 200":   {Cgroup: 10, Reason: strings.Repeat("x", 201)},
		"no more are k": {Cgroup: 999, Until: 1 << 60},
	} {
		for id := range uint64(maxHandsOff) {
			require.NoError(t, w.policy.Release(HandsOff{Cgroup: 100 + id, Until: 1 << 60}))
		}
		assert.ErrorContains(t, w.policy.Release(o), want)
	}
	require.NoError(t, w.policy.Release(HandsOff{Cgroup: 100, Until: 1 << 61}), "the newer order replaces the older")
	assert.Len(t, w.policy.operator, maxHandsOff)
}
