// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The leak of the demo on the simulated machine, after an hour of calm in which
// its bursts come in thousands.
func TestTheNodePresetSeesTheLeakAndNothingBefore(t *testing.T) {
	seeds := int(simulated(t, 100, 12))
	var mu sync.Mutex
	var inTime, quiet, both, explained int
	t.Run("seeds", func(t *testing.T) {
		for half := range 2 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for seed := half; seed < seeds; seed += 2 {
					m, e := newMachine(uint64(seed)), NewEngine(Config{})
					var j arc.Judgement
					calm := true
					for range 36000 {
						m.run(e, arc.Control{}, &j)
						calm = calm && !j.Anomalous
					}
					m.leak = 50e6
					at := 0
					for k := 1; k <= 10 && at == 0; k++ {
						m.run(e, arc.Control{}, &j)
						if j.Anomalous {
							at = k
						}
					}
					seen := at > 0 && at <= 3
					mu.Lock()
					inTime += count(seen)
					quiet += count(calm)
					both += count(seen && calm)
					explained += count(j.Contributions[0].Dimension == "system.memory.used.growth")
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("of %d: seen within 3 decisions %d, no anomaly in the hour before %d, both %d, growth the largest contribution %d",
		seeds, inTime, quiet, both, explained)
	assert.GreaterOrEqual(t, float64(both), 0.95*float64(seeds)-count2(seeds < 100))
	assert.Equal(t, seeds, explained)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// count2 is one seed of slack where there are few.
func count2(b bool) float64 { return float64(count(b)) }
