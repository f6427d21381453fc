// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// containWithin is how long after the onset of a leak the suite waits for its
// containment. It is no measure of Reflex: instructions are emulated, and whoever
// else uses the host's cores takes them from the machine.
const containWithin = 20 * time.Second

// contain lets the shop leak and returns when its memory.high was first lowered.
func contain(t *testing.T, shop *Shop) (contained time.Time) {
	t.Helper()
	onset := shop.Leak(t)
	contained = shop.PaymentWatch.Await(t, "containment", onset, containWithin, isLowered)
	t.Logf("contained %.2f s after the onset", contained.Sub(onset).Seconds())
	return contained
}

// within expects the workload's own limit back in time after a death.
func within(t *testing.T, shop *Shop, killed time.Time) {
	t.Helper()
	back := shop.PaymentWatch.Await(t, "the original", killed, leaseTTL+restoreWithin, isOriginal)
	t.Logf("original back %.2f s after the death, TTL %v", back.Sub(killed).Seconds(), leaseTTL)
}

// stays expects that nobody took the limit away again and nothing is left behind.
func stays(t *testing.T, shop *Shop) {
	t.Helper()
	Eventually(t, restoreWithin, func() error { return none(Records(t)) })
	assert.Equal(t, original, shop.Payment.Get(t, "memory.high"))
}

// TestKilledWhileContained kills the parts of Reflex that hold a limit on a
// workload, by SIGKILL: the guard, then the collector that went on without it, and
// both at once.
func TestKilledWhileContained(t *testing.T) {
	t.Run("guard, then collector", func(t *testing.T) {
		shop, guard := openGuarded(t)
		collector := StartCollector(t, Setup{})
		collector.AwaitReady(t)
		contain(t, shop)

		killed := guard.KillChild(t)
		within(t, shop, killed)
		restored := time.Now()
		again := shop.PaymentWatch.Await(t, "containment by the new guard", restored, containWithin, isLowered)
		t.Logf("contained again %.2f s after the guard's death", again.Sub(killed).Seconds())

		killed = time.Now()
		collector.Kill(t)
		within(t, shop, killed)
		stays(t, shop)
		shop.Close(t)
	})
	t.Run("both", func(t *testing.T) {
		shop, guard := openGuarded(t)
		collector := StartCollector(t, Setup{})
		collector.AwaitReady(t)
		contain(t, shop)

		killed := guard.KillChild(t)
		collector.Kill(t)
		within(t, shop, killed)
		stays(t, shop)
		shop.Close(t)
	})
}
