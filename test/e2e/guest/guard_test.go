// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// original is what memory.high of the payment service is before anybody acts: a
// value, so that giving back "max" is a failure.
const original = "838860800"

func isOriginal(value string) bool { return value == original }

func isLowered(value string) bool { return value != original && value != "max" }

// openGuarded is a shop whose payment service has a memory.high of its own, with
// a guard beside it.
func openGuarded(t *testing.T) (*Shop, *Guard) {
	t.Helper()
	shop := OpenShop(t)
	shop.Payment.Set(t, "memory.high", original)
	shop.PaymentWatch.Await(t, "the original", time.Time{}, 5*time.Second, isOriginal)
	return shop, StartGuard(t)
}

func TestGuardLowersAndGivesBackWhenNobodyRenews(t *testing.T) {
	shop, guard := openGuarded(t)
	const ttl = 2 * time.Second
	ordered := time.Now()
	out := guard.Hold(t, shop.Payment, shop.Payment.Usage(t)+32<<20, ttl, false)
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	assert.Equal(t, original, strconv.FormatUint(out.Original, 10))
	lowered := shop.PaymentWatch.Await(t, "a ceiling", ordered, 2*time.Second, isLowered)
	assert.Contains(t, Records(t), shop.Payment.Dir(), "the record is on the cgroup")

	back := shop.PaymentWatch.Await(t, "the original", lowered, ttl+restoreWithin, isOriginal)
	t.Logf("given back %.2f s after an order with a TTL of %v", back.Sub(ordered).Seconds(), ttl)
	assert.InDelta(t, ttl.Seconds(), back.Sub(ordered).Seconds(), restoreWithin.Seconds())
	Eventually(t, restoreWithin, func() error { return none(Records(t)) })
	shop.Close(t)
}

func TestGuardRestoresAfterItsOwnDeath(t *testing.T) {
	shop, guard := openGuarded(t)
	hold := func(ttl time.Duration) {
		t.Helper()
		since := time.Now()
		out := guard.Hold(t, shop.Payment, shop.Payment.Usage(t)+32<<20, ttl, false)
		require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
		shop.PaymentWatch.Await(t, "a ceiling", since, 2*time.Second, isLowered)
	}

	hold(30 * time.Second) // so long that expiry cannot be what gives it back
	killed := guard.KillChild(t)
	back := shop.PaymentWatch.Await(t, "the original", killed, 3*time.Second, isOriginal)
	t.Logf("guard killed: original back after %v", back.Sub(killed))

	hold(30 * time.Second)
	guard.Kill(t) // the supervisor, and by its death signal the guard
	guard.Again(t)
	assert.Equal(t, original, shop.Payment.Get(t, "memory.high"), "restored before the first answer")
	shop.Close(t)
}

// TestGuardRestoresWheneverItDies kills the guard at instants spread over the
// time in which it takes an order and writes record and knob.
func TestGuardRestoresWheneverItDies(t *testing.T) {
	shop, guard := openGuarded(t)
	const (
		rounds = 12
		ttl    = 2 * time.Second
		// A supervisor starts a child that lives shorter than a second ever later.
		settled = 1100 * time.Millisecond
	)
	written := 0
	for i := range rounds {
		born := time.Now()
		Eventually(t, 2*settled, func() error {
			if age := time.Since(born); age < settled {
				return fmt.Errorf("the guard is %v old", age)
			}
			return none(Records(t))
		})
		child, since := guard.Child(t), time.Now()
		died := make(chan struct{})
		time.AfterFunc(time.Duration(i)*8*time.Millisecond, func() {
			killNow(child)
			close(died)
		})
		order(t, guard, shop.Payment, shop.Payment.Usage(t)+32<<20, ttl)
		<-died
		Eventually(t, 5*time.Second, func() error {
			_, err := guard.client.Status(t.Context())
			return err
		})
		// The client repeats an order whose answer it did not get, so the ceiling
		// may be there again; then it ends by itself.
		Eventually(t, ttl+restoreWithin, func() error {
			if high := shop.Payment.Get(t, "memory.high"); high != original {
				return fmt.Errorf("round %d: memory.high is %s", i, high)
			}
			return none(Records(t))
		})
		for _, c := range shop.PaymentWatch.Changes() {
			if c.At.After(since) && isLowered(c.Value) {
				written++
				break
			}
		}
	}
	t.Logf("the knob had been written in %d of %d rounds", written, rounds)
	assert.Positive(t, written, "the deaths came too early to show anything")
	shop.Close(t)
}

func TestGuardObservingWritesNothing(t *testing.T) {
	shop, guard := openGuarded(t)
	out := guard.Hold(t, shop.Payment, shop.Payment.Usage(t)+32<<20, 2*time.Second, true)
	assert.Equal(t, arc.VerdictObserved, out.Verdict, out.Cause)
	assert.Len(t, shop.PaymentWatch.Changes(), 2, "max and the original: %s", shop.PaymentWatch)
	assert.Empty(t, Records(t))
	shop.Close(t)
}

func TestGuardRefusesWhatIsNobodysToTouch(t *testing.T) {
	shop, guard := openGuarded(t)
	for _, c := range []Cgroup{"/", "/reflex", "/reflex/guard"} {
		out := guard.Hold(t, c, 1<<30, 2*time.Second, false)
		assert.Equal(t, arc.VerdictRefused, out.Verdict, "%s: %s", c, out.Cause)
	}
	assert.Empty(t, Records(t))
	shop.Close(t)
}
