// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestObserveWritesNothing lets a leak run under a collector that only observes.
// No limit of any cgroup changes, no record appears, and yet the story is told.
func TestObserveWritesNothing(t *testing.T) {
	shop, _ := openGuarded(t)
	collector := StartCollector(t, Setup{Mode: "observe"})
	collector.AwaitReady(t)
	before := limits()
	onset := shop.Leak(t)
	Eventually(t, containWithin, func() error {
		if len(Records(t)) > 0 {
			t.Fatalf("observing left records: %v", Records(t))
		}
		return recorded(collector.Journal(t), "observed")
	})
	t.Logf("observed an order %.2f s after the onset", time.Since(onset).Seconds())
	// Orders are renewed and moved while the leak goes on.
	Eventually(t, 2*leaseTTL, func() error {
		if time.Since(onset) < leaseTTL+restoreWithin {
			return errTooEarly
		}
		return nil
	})
	assert.Equal(t, before, limits())
	assert.Len(t, shop.PaymentWatch.Changes(), 2, "max and the original: %s", shop.PaymentWatch)
	assert.Empty(t, Records(t))
	shop.Close(t)
}

// limits returns every knob of every cgroup that an actuator could turn.
func limits() map[string]string {
	all := map[string]string{}
	Walk(func(dir string) {
		for _, knob := range []string{"memory.high", "memory.max", "memory.min", "memory.low", "cpu.max", "cpu.weight", "cpu.idle", "io.max", "pids.max", "cgroup.freeze"} {
			path := filepath.Join(dir, knob)
			if text, err := os.ReadFile(path); err == nil {
				all[path] = strings.TrimSpace(string(text))
			}
		}
	})
	return all
}
