// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tempo is how fast the arc worked while it held a leaking service.
type tempo struct {
	onsetToKnob time.Duration // from the leak's onset to the first lowered limit
	orders      int           // that were written
	median, p99 time.Duration // of tick to knob: scheduled tick to the return of the write
	moves       int           // of the ceiling, as seen from outside
}

func (o tempo) String() string {
	return fmt.Sprintf("onset to knob %v; tick to knob of %d orders: median %v, p99 %v; the ceiling moved %d times",
		o.onsetToKnob.Round(time.Millisecond), o.orders, o.median.Round(10*time.Microsecond), o.p99.Round(10*time.Microsecond), o.moves)
}

// holdFor is how long a contained leak goes on.
const holdFor = 12 * time.Second

// measure runs one leak under a collector.
func measure(t *testing.T, s Setup, blocked func() error) tempo {
	t.Helper()
	shop, _ := openGuarded(t)
	tap := StartTap(t)
	s.Guard = tap.Socket
	collector := StartCollector(t, s)
	collector.AwaitReady(t)
	if blocked != nil {
		// The queue is full and the pipeline stands before the leak begins.
		Eventually(t, 20*time.Second, blocked)
	}
	onset := shop.Leak(t)
	contained := shop.PaymentWatch.Await(t, "containment", onset, containWithin, isLowered)
	Eventually(t, 2*holdFor, func() error {
		if time.Since(contained) < holdFor {
			return errTooEarly
		}
		return nil
	})
	o := tempo{onsetToKnob: contained.Sub(onset)}
	for _, c := range shop.PaymentWatch.Changes() {
		if c.At.After(contained) && isLowered(c.Value) {
			o.moves++
		}
	}
	all := tap.TickToKnob()
	require.NotEmpty(t, all, "no order was written")
	slices.Sort(all)
	o.orders, o.median, o.p99 = len(all), all[len(all)/2], all[len(all)*99/100]
	assert.NoError(t, recorded(collector.Journal(t), "granted"))
	shop.Close(t)
	return o
}

// TestSilentBackendDoesNotSlowTheArc compares three runs in one machine: a backend
// that takes everything, one that never answers behind the pipeline of the
// processor, and one behind a sibling pipeline of the same receiver.
func TestSilentBackendDoesNotSlowTheArc(t *testing.T) {
	var answering tempo
	if !t.Run("answering", func(t *testing.T) {
		answering = measure(t, Setup{}, nil)
		t.Log(answering)
	}) {
		t.Fatal("there is nothing to compare with")
	}
	for _, arm := range []struct {
		name    string
		sibling bool
	}{{"same pipeline", false}, {"sibling pipeline", true}} {
		t.Run(arm.name, func(t *testing.T) {
			silent := StartSilent(t)
			o := measure(t, Setup{Silent: silent.Address, Sibling: arm.sibling}, func() error {
				if silent.Accepted() == 0 {
					return errors.New("the backend has not been asked yet")
				}
				return nil
			})
			t.Logf("silent:    %v", o)
			t.Logf("answering: %v", answering)
			assert.Positive(t, silent.Accepted())
			// Emulated, with everything on two cores: a sampler that waits would
			// show as no order at all, noise as some tens of milliseconds.
			assert.LessOrEqual(t, o.median, answering.median*3/2+20*time.Millisecond)
			assert.LessOrEqual(t, o.p99, answering.p99*2+100*time.Millisecond)
			assert.GreaterOrEqual(t, o.orders, answering.orders/2)
		})
	}
}
