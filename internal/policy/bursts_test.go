// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cron wants many CPUs for so long at the top of each minute, and from last on for
// good.
func cron(length, last time.Duration) *group {
	return &group{id: 10, path: "/cron.service", plant: plant{tasks: 8, cpu: func(at time.Duration) float64 {
		if at%time.Minute < length || at >= last {
			return 8
		}
		return 0
	}}}
}

func TestWhoKeepsOthersWaitingForNoLongerThanBefore(t *testing.T) {
	const onset = 4 * time.Minute // anomalous from here on
	for name, tt := range map[string]struct {
		length, last time.Duration
		from, to     time.Duration // after onset; 0 for never
	}{
		"as ever":              {8 * time.Second, hours, 0, 0},
		"longer than ever":     {8 * time.Second, onset, 9 * time.Second, 14 * time.Second},
		"who never did so":     {0, onset, 0, 6 * time.Second},
		"more than is learned": {40 * time.Second, onset, 20 * time.Second, 28 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, DefaultConfig(), cron(tt.length, tt.last), service())
			w.anomalous = after(onset)
			if tt.to == 0 {
				w.run(onset + 50*time.Second)
				require.Empty(t, w.orders, w.story())
				require.NotEmpty(t, w.declined(CauseExpected))
				assert.Contains(t, w.declined(CauseExpected)[0].Reason, "for no longer than it has before")
				return
			}
			at := w.runUntil(onset+50*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
			assert.GreaterOrEqual(t, at-onset, tt.from)
			assert.LessOrEqual(t, at-onset, tt.to)
		})
	}
}
