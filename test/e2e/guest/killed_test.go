// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// containWithin is how long after the onset of a leak the suite waits for its
// containment. What is promised natively is less; here instructions are emulated.
const containWithin = 10 * time.Second

// contain lets the shop leak and returns when its memory.high was first lowered.
func contain(t *testing.T, shop *Shop) (contained time.Time) {
	t.Helper()
	onset := shop.Leak(t)
	contained = shop.PaymentWatch.Await(t, "containment", onset, containWithin, isLowered)
	t.Logf("contained %.2f s after the onset", contained.Sub(onset).Seconds())
	return contained
}

// TestKilledWhileContained kills the parts of Reflex that hold a limit on a
// workload, and expects the workload's own limit back in time.
func TestKilledWhileContained(t *testing.T) {
	for name, kill := range map[string]func(t *testing.T, c *Collector, g *Guard){
		"collector": func(t *testing.T, c *Collector, _ *Guard) { t.Helper(); c.Kill(t) },
		"guard":     func(t *testing.T, _ *Collector, g *Guard) { t.Helper(); g.KillChild(t) },
		"both": func(t *testing.T, c *Collector, g *Guard) {
			t.Helper()
			g.KillChild(t)
			c.Kill(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			shop, guard := openGuarded(t)
			collector := StartCollector(t, Setup{})
			collector.AwaitReady(t)
			contain(t, shop)

			killed := time.Now()
			kill(t, collector, guard)
			back := shop.PaymentWatch.Await(t, "the original", killed, leaseTTL+restoreWithin, isOriginal)
			t.Logf("original back %.2f s after the death, TTL %v", back.Sub(killed).Seconds(), leaseTTL)
			if name != "guard" { // else the collector, alive, contains again
				Eventually(t, restoreWithin, func() error { return none(Records(t)) })
				assert.Equal(t, original, shop.Payment.Get(t, "memory.high"))
			}
			shop.Close(t)
		})
	}
}
