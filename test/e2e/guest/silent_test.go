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
	tickToKnob  time.Duration // of the first containment, as the journal has it
	stepMedian  time.Duration // between two moves of the ceiling
	stepP99     time.Duration
	steps       int
}

func (o tempo) String() string {
	return fmt.Sprintf("onset to knob %v, tick to knob %v, %d moves of the ceiling, between two of them median %v, p99 %v",
		o.onsetToKnob.Round(time.Millisecond), o.tickToKnob.Round(time.Microsecond), o.steps, o.stepMedian.Round(time.Millisecond), o.stepP99.Round(time.Millisecond))
}

// holdFor is how long the ceiling is watched.
const holdFor = 12 * time.Second

// measure runs one leak under a collector.
func measure(t *testing.T, s Setup, blocked func() error) tempo {
	t.Helper()
	shop, _ := openGuarded(t)
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
			return errors.New("still watching")
		}
		return nil
	})
	o := tempo{onsetToKnob: contained.Sub(onset)}
	var gaps []time.Duration
	changes := shop.PaymentWatch.Changes()
	for i := 1; i < len(changes); i++ {
		if isLowered(changes[i].Value) && isLowered(changes[i-1].Value) {
			gaps = append(gaps, changes[i].At.Sub(changes[i-1].At))
		}
	}
	require.NotEmpty(t, gaps, "the ceiling never moved: %s", shop.PaymentWatch)
	slices.Sort(gaps)
	o.steps, o.stepMedian, o.stepP99 = len(gaps), gaps[len(gaps)/2], gaps[len(gaps)*99/100]
	for _, r := range collector.Journal(t) {
		if r.Outcome != nil && r.Outcome.Verdict == "granted" && o.tickToKnob == 0 {
			o.tickToKnob = time.Duration(r.TickToKnob * float64(time.Second))
		}
	}
	assert.Positive(t, o.tickToKnob, "the journal has no granted action with its times")
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
			// Emulated, with everything on two cores: a stalled sampler would
			// show as no move at all, noise as some tens of milliseconds.
			assert.LessOrEqual(t, o.stepMedian, answering.stepMedian*3/2+20*time.Millisecond)
			assert.LessOrEqual(t, o.stepP99, answering.stepP99*2+100*time.Millisecond)
			assert.GreaterOrEqual(t, o.steps, answering.steps/2)
		})
	}
}
