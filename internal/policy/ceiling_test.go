// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// TestACeilingSpendsWhatThereIsAndNoMore draws headrooms, times to buy, and how far
// above its ceiling the kernel lets the cgroup grow.
func TestACeilingSpendsWhatThereIsAndNoMore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		usage := uint64(rapid.IntRange(10, 8000).Draw(rt, "usage")) * mb
		headroom := uint64(rapid.IntRange(10, 8000).Draw(rt, "headroom")) * mb
		buy := time.Duration(rapid.IntRange(10, 600).Draw(rt, "seconds")) * time.Second
		// What the overage takes is not for the ceiling to give.
		overage := rapid.Float64Range(0, min(0.15, 0.5*float64(headroom)/float64(usage+headroom))).Draw(rt, "overage")
		step := time.Duration(rapid.SampledFrom([]int{100, 150, 400}).Draw(rt, "step")) * time.Millisecond
		limit := usage + headroom
		const granted = int64(1e12)
		l := &lease{parameter: roundUp(usage), granted: granted}
		l.headroom, l.share, l.until = headroom, 1, granted+int64(buy)
		l.fastest = max(DefaultConfig().GrowthBudget, float64(headroom)/buy.Seconds())

		now := granted
		for available := headroom; !l.spent(available); {
			now += int64(step)
			before := l.parameter
			used := min(uint64(float64(l.parameter)*(1+overage*min(2*float64(now-granted)/float64(buy), 1))), limit)
			available = limit - used
			pace := l.pace(now, available, DefaultConfig().GrowthBudget)
			require.GreaterOrEqual(rt, pace, 0.0)
			l.raise(int64(step), pace, used, available)
			require.GreaterOrEqual(rt, l.parameter, before, "it only rises")
			require.Less(rt, l.parameter, limit, "never at the limit")
			require.Zero(rt, l.parameter%page)
			require.LessOrEqual(rt, float64(l.parameter-before), pace*step.Seconds()+page, "no faster than its pace")
			require.Less(rt, now-granted, 2*int64(buy), "and it does not linger")
		}
		assert.GreaterOrEqual(rt, float64(now-granted), 0.98*float64(buy)-2*float64(step), "for as long as was to be bought")
	})
}

func TestACeilingWithoutALimitRisesAtItsBudget(t *testing.T) {
	l := &lease{parameter: 100 * page, granted: 1e12}
	l.headroom, l.share, l.until, l.fastest = arc.Unlimited, 1, 1e12+60e9, 6.5*mb
	assert.Equal(t, 6.5*mb, l.pace(2e12, arc.Unlimited, 0))
	assert.False(t, l.spent(arc.Unlimited))
	l.share = 0.5
	assert.Equal(t, 3.25*mb, l.pace(2e12, arc.Unlimited, 0))
}
