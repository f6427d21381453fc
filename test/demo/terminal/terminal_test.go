// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// minute is what a scenario streams in one arm with Reflex.
func minute(t *Timeline) {
	t.Event(recording.Event{Kind: recording.EventPhase, Arm: "with", Phase: recording.PhasePrepare})
	t.Event(recording.Event{Kind: recording.EventNote, Arm: "with", Text: "Reflex is ready to act"})
	for _, phase := range []string{recording.PhaseCalm, recording.PhaseLeak} {
		t.Event(recording.Event{Kind: recording.EventPhase, Arm: "with", Phase: phase, Length: 60})
		for i := 1; i <= 24; i++ {
			e := recording.Event{
				Kind: recording.EventTick, Arm: "with", Elapsed: float64(i) / 2, PaymentAlive: true,
				PaymentBytes: 3 << 29, PaymentLimit: 2 << 30, PaymentAnswers: 100, NeighbourAnswers: 99, NeighbourP99: 4.25,
				Judged: true, Distance: 3.3, Threshold: 9,
			}
			if phase == recording.PhaseLeak {
				e.Level, e.Distance, e.PaymentCeiling = 2, 812, 25<<26
			}
			t.Event(e)
		}
	}
	t.Close()
}

func TestAPipeGetsPlainLinesEveryFewSeconds(t *testing.T) {
	var b strings.Builder
	minute(newTimeline(&b, false, false, []string{"without", "with"}))
	assert.Equal(t, `Arm 2 of 2: with Reflex
        Reflex is ready to act
 -60 s  calm  payment 1.50 of 2.00 GiB  100 answers/s  neighbour  99 answers/s, p99 4.2 ms  level 0 normal, D_M 3.3, limit 9
 -55 s  calm  payment 1.50 of 2.00 GiB  100 answers/s  neighbour  99 answers/s, p99 4.2 ms  level 0 normal, D_M 3.3, limit 9
 -50 s  calm  payment 1.50 of 2.00 GiB  100 answers/s  neighbour  99 answers/s, p99 4.2 ms  level 0 normal, D_M 3.3, limit 9
  +0 s  the leak begins
  +0 s  leak  payment 1.50 of 2.00 GiB  100 answers/s  neighbour  99 answers/s, p99 4.2 ms  level 2 containment, D_M 812, limit 9
  +5 s  leak  payment 1.50 of 2.00 GiB  100 answers/s  neighbour  99 answers/s, p99 4.2 ms  level 2 containment, D_M 812, limit 9
 +10 s  leak  payment 1.50 of 2.00 GiB  100 answers/s  neighbour  99 answers/s, p99 4.2 ms  level 2 containment, D_M 812, limit 9
`, b.String())
}

func TestATerminalIsKeptUpToDateInPlace(t *testing.T) {
	var b strings.Builder
	minute(newTimeline(&b, true, true, []string{"without", "with"}))
	assert.Equal(t, strings.Count(b.String(), "\x1b[J"), strings.Count(b.String(), "A\x1b[J"), "what is erased was drawn")
	assert.Contains(t, b.String(), "\x1b[33;1mlevel 2 containment\x1b[0m")
	assert.True(t, strings.HasSuffix(b.String(), "\x1b[J"), "nothing of the block stays")
}

func TestNoColorIsRespected(t *testing.T) {
	var b strings.Builder
	minute(newTimeline(&b, true, false, []string{"with"}))
	assert.NotRegexp(t, `\x1b\[[0-9;]*m`, b.String())
}

func TestTheBarFills(t *testing.T) {
	for share, want := range map[float64]string{
		0: "····", 0.5: "██··", 1: "████", 2: "████", -1: "····", 0.28125: "█▏··",
	} {
		assert.Equal(t, want, bar(share, 4))
	}
}
