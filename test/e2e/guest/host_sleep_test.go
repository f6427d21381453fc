// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// alarm is set to so many seconds from now, and empty again once it has rung.
const alarm = "/sys/class/rtc/rtc0/wakealarm"

func setAlarm(t *testing.T, span time.Duration) {
	t.Helper()
	require.NoError(t, os.WriteFile(alarm, []byte("0"), 0))
	require.NoError(t, os.WriteFile(alarm, fmt.Append(nil, "+", int(span.Seconds())), 0))
}

// suspend lets the machine sleep until its real-time clock wakes it, and returns
// for how long it did: by how much one clock went on and the other did not.
func suspend(t *testing.T, span time.Duration) time.Duration {
	t.Helper()
	// Without an alarm that rings nobody would wake it.
	setAlarm(t, time.Second)
	Eventually(t, 10*time.Second, func() error {
		text, err := os.ReadFile(alarm)
		if err == nil && len(bytes.TrimSpace(text)) > 0 {
			err = errors.New("the alarm does not ring")
		}
		return err
	})
	asleep := func() time.Duration { return clockNow(t, unix.CLOCK_BOOTTIME) - clockNow(t, unix.CLOCK_MONOTONIC) }
	before := asleep()
	setAlarm(t, span)
	require.NoError(t, os.WriteFile("/sys/power/state", []byte("mem"), 0))
	return asleep() - before
}

// TestHostThatSleeps suspends the machine to memory under the arc and the collector.
// (To idle it falls asleep as well, but the emulated clock does not wake it.)
func TestHostThatSleeps(t *testing.T) {
	states, err := os.ReadFile("/sys/power/state")
	require.NoError(t, err)
	require.Contains(t, strings.Fields(string(states)), "mem")
	collector := StartCollector(t, Setup{Mode: "observe", Guard: "none"})
	sampling(t, collector)
	alone := startArc(t, 3*time.Second)
	before := alone.await(t, 0, 80)
	was, err := read[Status]("/status")
	require.NoError(t, err)

	slept := suspend(t, 10*time.Second)
	t.Logf("slept for %v", slept)
	require.Greater(t, slept, 4*time.Second)
	ticks := alone.await(t, len(before), 30)
	onGrid(t, ticks)
	woken := 0
	for i := 1; i < len(ticks); i++ {
		if gap := ticks[i].Taken - ticks[i-1].Taken; gap >= slept {
			require.Zero(t, woken, "the sleep is in one gap")
			woken = i
		}
	}
	require.Positive(t, woken)
	first := ticks[woken]
	assert.Less(t, first.Taken-first.Scheduled, slept/2, "the first sample after it is of now")
	assert.GreaterOrEqual(t, time.Duration(first.Missed)*first.Interval, slept-first.Interval, "what was slept through is missed")
	assert.False(t, first.Judgement.Fresh, "and has nothing to be judged by")
	for f, v := range first.Node {
		if arc.NodeFields[f].Kind == arc.Counter {
			last := ticks[woken-1].Node[f]
			assert.GreaterOrEqual(t, v, last, arc.NodeFields[f].Name)
			if arc.NodeFields[f].Unit == "s" {
				assert.LessOrEqual(t, v-last, 3*(first.Taken-ticks[woken-1].Taken-slept).Seconds()+2, arc.NodeFields[f].Name)
			}
		}
	}

	Eventually(t, 20*time.Second, func() error {
		s, err := read[Status]("/status")
		if err == nil && (s.Input.Sequence < was.Input.Sequence+10 || s.Input.Stale) {
			err = fmt.Errorf("after the sleep: sample %d after %d, stale: %v", s.Input.Sequence, was.Input.Sequence, s.Input.Stale)
		}
		return err
	})
}
