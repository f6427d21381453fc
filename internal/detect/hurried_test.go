// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// A source that is sampled each second, and faster for a while when something
// hurries it, is judged as often as one that is not, over the same second, and
// learns the same: what hurries it can neither raise an alarm nor a limit.
func TestASlowInputThatIsHurriedIsDecidedAsBefore(t *testing.T) {
	const second = 100 // steps
	for _, tt := range []struct {
		name  string
		steps int // of the hurried intervals
	}{
		{"to 100 ms", 10},
		{"to 10 ms", 1},
		{"to an interval that does not divide its own", 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(5)
			calm, hurried := NewEngine(Config{}), NewEngine(Config{})
			var jc, jh arc.Judgement
			trends, interval := 0, int64(second*step)
			judge := func(e arc.Engine, interval int64, j *arc.Judgement) {
				s := m.read(interval)
				s.Taken, s.Period = s.Scheduled, second*step
				e.Judge(s, arc.Control{}, j)
			}
			for k := range 900 {
				if k == 880 {
					m.leak = 50e6
				}
				// It begins in the middle of a second, now earlier, now later.
				hurry := k >= 400 && k%20 < 6 || k > 800
				begins := 0
				if k%20 == 0 {
					begins = 34 + k%63
				}
				for i := 1; i < second; i++ {
					m.advance()
					if hurry && i >= begins && i%tt.steps == 0 {
						judge(hurried, interval, &jh)
						assert.False(t, jh.Fresh, "second %d, step %d", k, i)
						interval = int64(tt.steps) * step
						trends++
					}
				}
				m.advance()
				judge(calm, second*step, &jc)
				judge(hurried, interval, &jh)
				if !hurry {
					interval = second * step
				}
				require.Equal(t, jc.Fresh, jh.Fresh, "second %d", k)
				require.InDelta(t, jc.Distance, jh.Distance, 1e-6*(1+jc.Distance), "second %d", k)
				require.InDelta(t, jc.Limit, jh.Limit, 1e-6*(1+jc.Limit), "second %d", k)
				require.Equal(t, jc.Anomalous, jh.Anomalous, "second %d", k)
			}
			assert.True(t, jc.Anomalous, "the leak is seen")
			assert.Positive(t, trends)
		})
	}
}
