// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsWorthContaining(t *testing.T) {
	for name, tt := range map[string]struct {
		work, stretch float64
		worth         bool
	}{
		"all of its work, for eight times as long":       {1, 7.7, true},
		"a third of it, which may answer nobody":         {0.33, 7.7, false},
		"two thirds of it":                               {0.67, 7.7, true},
		"as much as it grows":                            {0.13, 7.7, false},
		"hardly more":                                    {0.2, 7.7, false},
		"as much as it grows, ten minutes":               {0.026, 38, false},
		"a tenth of its work, ten minutes":               {0.1, 38, false},
		"six tenths of its work, ten minutes":            {0.6, 38, true},
		"all of its work, for half as long again":        {1, 1.5, true},
		"as much as it grows, for half as long again":    {0.67, 1.5, false},
		"somewhat less, where the ceiling does nothing":  {0.8, 1.1, true},
		"nothing, where it grows in spite of everything": {0, 0.9, true}, // not for us to tell
	} {
		y := yield{work: tt.work, stretch: tt.stretch}
		assert.Equal(t, tt.worth, y.worth(), name)
	}
}

// User time is counted by ticks: of who has little, more of it has to be seen.
func TestLittleWorkIsComparedForLonger(t *testing.T) {
	y := yield{user: true, share: 0.2}
	assert.Equal(t, int64(10e9), y.window(10e9, 0.1))
	assert.Equal(t, int64(80e9), y.window(10e9, 0.01))
	y.user = false
	assert.Equal(t, int64(10e9), y.window(10e9, 0.01), "CPU time in all is counted in ns")
}

// TestWhoDoesLessThanUnprotectedIsHandedOverEarly plays both leaks through the whole
// policy, on a plant that throttles as the kernel does. Answers are the measure, and
// the policy does not see them.
func TestWhoDoesLessThanUnprotectedIsHandedOverEarly(t *testing.T) {
	for name, tt := range map[string]struct {
		perRequest bool
		leak       float64 // bytes a second, unprotected
		buy        time.Duration
		work       time.Duration
		used, left float64
		says       string // the ending announced early; "" for none
		effort     float64
	}{
		"per request":                                 {true, 50 * mb, 2 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "", 0},
		"per request, ten minutes":                    {true, 50 * mb, 10 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "", 0},
		"per request, of a large service":             {true, 50 * mb, 2 * time.Minute, 4 * time.Millisecond, 1310 * mb, 838 * mb, "", 0},
		"per request, slow":                           {true, 20 * mb, 2 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "times what it would do unprotected", 0},
		"per request, busy":                           {true, 50 * mb, 2 * time.Minute, 20 * time.Millisecond, 258 * mb, 816 * mb, "", 0},
		"per request, while the kernel is busy":       {true, 50 * mb, 2 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "", 0.2},
		"per request, slow, while the kernel is busy": {true, 20 * mb, 2 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "times what it would do unprotected", 0.1},
		"in a thread, while the kernel is busy":       {false, 50 * mb, 2 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "-", 0.2},
		"in a thread":                                 {false, 50 * mb, 2 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "-", 0},
		"in a thread, ten minutes":                    {false, 50 * mb, 10 * time.Minute, 4 * time.Millisecond, 258 * mb, 816 * mb, "-", 0},
		"in a thread, of a large service":             {false, 50 * mb, 10 * time.Minute, 4 * time.Millisecond, 1310 * mb, 838 * mb, "-", 0},
		"in a thread, hardly slowed":                  {false, 16 * mb, time.Minute, 4 * time.Millisecond, 258 * mb, 650 * mb, "-", 0},
		"in a thread, of a service at rest":           {false, 50 * mb, 10 * time.Minute, time.Millisecond, 258 * mb, 816 * mb, "-", 0},
		"in a thread, of a busy service":              {false, 50 * mb, 10 * time.Minute, 20 * time.Millisecond, 258 * mb, 816 * mb, "-", 0},
	} {
		t.Run(name, func(t *testing.T) {
			make := func() *tenant {
				n := shop(tt.perRequest, tt.used, tt.left, 6)
				n.work = tt.work
				if tt.perRequest {
					n.keeps = int(tt.leak / n.rate / page)
				} else {
					n.leak = tt.leak
				}
				return n
			}
			alone := make()
			alone.advance(alone.onset + tt.buy)
			require.True(t, alone.dead)

			cfg := DefaultConfig()
			cfg.BuyTime = tt.buy
			n := make()
			n.effort = tt.effort
			g := &group{id: 10, path: "/system.slice/payment.service", anon: tt.used, limit: uint64(tt.used + tt.left), tenant: n}
			w := newWorld(t, cfg, g, service())
			w.anomalous = after(n.onset)
			at := w.runUntil(n.onset+5*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
			w.run(at + tt.buy - 5*time.Second)
			t.Logf("%d answers, %d alone, longest gap %.2f s", n.answers, alone.answers, n.silence().Seconds())
			if tt.says == "-" {
				assert.Empty(t, w.of(Announced), w.story())
				assert.False(t, g.gone)
				assert.Greater(t, float64(n.answers), 0.9*n.rate*tt.buy.Seconds(), "it goes on")
				w.runUntil(at+tt.buy+tt.buy/4, func(*Decision) bool { return len(w.of(Announced)) > 0 })
				assert.Contains(t, w.of(Announced)[0].Reason, "headroom", "and in the end is handed over all the same")
				return
			}
			announced := w.of(Announced)
			require.Len(t, announced, 1, w.story())
			assert.Contains(t, announced[0].Reason, tt.says)
			assert.Contains(t, announced[0].Outcome.Cause, "ending: release")
			assert.Less(t, time.Duration(announced[0].Order.Scheduled)-time.Duration(w.start)-at, 20*time.Second)
			assert.True(t, g.gone, "the kernel's own limit decides")
			assert.GreaterOrEqual(t, float64(n.answers), 0.95*float64(alone.answers), "and its answers are those it had given unprotected")
		})
	}
}
