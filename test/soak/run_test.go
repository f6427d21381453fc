// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testdata/healthy.rfx is five minutes of a machine of the profile mixed, made by
// `make record-healthy`: its startup, a build in a scope and one in the runner, a
// backup, five minutes of cron, and a restart.
func TestASoakOfARecording(t *testing.T) {
	plan := Plan{
		Recordings: []string{filepath.Join("testdata", "healthy.rfx")}, Recombined: 40 * time.Minute, Length: 20 * time.Minute,
		Trials: 10, Seed: 1, Workers: 2, Notice: io.Discard,
	}
	r, err := Run(t.Context(), plan)
	require.NoError(t, err)
	assert.Empty(t, r.Recorded.Incidents, "nobody healthy is contained")
	assert.Zero(t, r.Recorded.Levels[1].Rate.Count)
	assert.InDelta(t, 5.0/60, r.Recorded.Hours, 0.001)
	assert.InDelta(t, 40.0/60, r.Recombined.Hours, 0.001)
	assert.Greater(t, r.Recombined.Seams, 10)
	assert.Less(t, r.Recordings[0].Missed, 0.02)
	// So short a recording holds no learning worth the name: what is expected of it
	// is that faults are seen at all, and that the leak is met by memory.high.
	leak := r.Faults[0]
	assert.Equal(t, 10, leak.Runs)
	assert.GreaterOrEqual(t, leak.Contained, 3)
	for _, trial := range r.Trials {
		if trial.Fault == leak.Name && trial.Contained >= 0 {
			assert.Equal(t, "memory.high", trial.Action)
		}
	}
	again, err := Run(t.Context(), plan)
	require.NoError(t, err)
	assert.Equal(t, r.Recombined.Levels, again.Recombined.Levels, "the seed decides")
	assert.Equal(t, leak.ContainS, again.Faults[0].ContainS)
}

func TestASoakNeedsARecording(t *testing.T) {
	_, err := Run(t.Context(), Plan{Notice: io.Discard})
	assert.ErrorContains(t, err, "there is no recording")
	_, err = Run(t.Context(), Plan{Recordings: []string{"testdata/none.rfx"}, Notice: io.Discard})
	assert.ErrorContains(t, err, "testdata/none.rfx")
}

func TestATickOrTwoThatAreMissedBlindNobody(t *testing.T) {
	tape := machine(1, 600)
	without := func(n int) time.Duration {
		one := *tape
		one.Ticks = append(tape.Ticks[:50:50], tape.Ticks[50+n:]...)
		told, err := soak(Replay(&one), 0, 0)
		require.NoError(t, err)
		return told.Blind
	}
	none := without(0)
	assert.Less(t, none, time.Second, "a policy trusts after its first ticks")
	assert.Equal(t, none, without(2))
	assert.InDelta(t, 0.6, (without(3) - none).Seconds(), 0.15, "the gap of four intervals, and until ticks that came in time are trusted")
}
