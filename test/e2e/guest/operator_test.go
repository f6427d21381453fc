// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// unconfirmed is reflexctl's exit code for what was ordered and not confirmed.
const unconfirmed = 4

// reflexctl runs it as a user and returns its exit code and what it said.
func reflexctl(t *testing.T, user User, args ...string) (int, string) {
	t.Helper()
	p := StartAs(t, "reflexctl-"+args[0], MakeCgroup(t, "/operator"), user, nil, append([]string{"/bin/reflexctl"}, args...)...)
	select {
	case <-p.Ended():
	case <-time.After(40 * time.Second):
		t.Fatalf("reflexctl %v does not end", args)
	}
	t.Logf("reflexctl %v: exit %d\n%s", args, p.ExitCode(), p.Output())
	return p.ExitCode(), p.Output()
}

// untaken expects that for some time nobody takes the workload's own limit away.
func untaken(t *testing.T, shop *Shop, patience time.Duration) {
	t.Helper()
	began := time.Now()
	Eventually(t, 2*patience, func() error {
		if high := shop.Payment.Get(t, "memory.high"); high != original {
			t.Fatalf("memory.high is %s after %v", high, time.Since(began))
		}
		if time.Since(began) < patience {
			return errTooEarly
		}
		return nil
	})
}

// operated is nil if an operator's record says that.
func operated(records []Record, what string) error {
	for _, r := range records {
		if r.Kind == "operator" && strings.Contains(r.Reason, what) {
			return nil
		}
	}
	return fmt.Errorf("no operator's record of %d says %q", len(records), what)
}

// TestOperatorsGiveBack contains a leak and lets an operator take it back while
// the leak goes on: by the collector, by the kill switch, and by the guard alone.
func TestOperatorsGiveBack(t *testing.T) {
	const within = 3 * time.Second
	t.Run("release", func(t *testing.T) {
		shop, _ := openGuarded(t)
		collector := StartCollector(t, Setup{})
		collector.AwaitReady(t)
		contain(t, shop)
		exit, said := reflexctl(t, nobody, "release", "payment", "--reason", "mine")
		assert.Equal(t, 1, exit, "neither collector nor guard takes orders from anybody")
		assert.Contains(t, said, "permission denied")
		_, said = reflexctl(t, User{}, "leases")
		assert.Regexp(t, `/shop/payment +\d+ +memory\.high +800 MiB +.* real +grows`, said)

		asked := time.Now()
		exit, said = reflexctl(t, User{}, "release", "payment", "--for", "1m", "--reason", "known")
		require.Zero(t, exit)
		assert.Contains(t, said, "nothing is held any more, says the guard; hands off for 1m0s")
		back := shop.PaymentWatch.Await(t, "the original", asked, within, isOriginal)
		t.Logf("original back %.2f s after the command was started", back.Sub(asked).Seconds())
		untaken(t, shop, 3*time.Second)
		assert.NoError(t, operated(collector.Journal(t), "uid 0: release /shop/payment, hands off for 1m0s: known"))
		assert.Error(t, operated(collector.Journal(t), "mine"))
		_, said = reflexctl(t, User{}, "explain")
		assert.Contains(t, said, "Who and why: /shop/payment grows")
		assert.Contains(t, said, "by an operator (uid 0): known")
		shop.Close(t)
	})
	t.Run("without collector", func(t *testing.T) {
		shop, guard := openGuarded(t)
		const ttl = 30 * time.Second // so long that expiry cannot be what gives it back
		out := guard.Hold(t, shop.Payment, shop.Payment.Usage(t)+32<<20, ttl, false)
		require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
		asked := time.Now()
		exit, said := reflexctl(t, User{}, "release", "/shop/payment")
		require.Zero(t, exit)
		assert.Contains(t, said, "1 leases given back by the guard")
		shop.PaymentWatch.Await(t, "the original", asked, within, isOriginal)
		out = guard.Hold(t, shop.Payment, shop.Payment.Usage(t)+32<<20, ttl, false)
		assert.Equal(t, arc.VerdictRefused, out.Verdict, "an order from before the release")
		exit, said = reflexctl(t, User{}, "kill-switch", "on")
		assert.Zero(t, exit)
		assert.Contains(t, said, "not in the journal")
		guard.Kill(t)
		exit, _ = reflexctl(t, User{}, "kill-switch", "off")
		assert.Equal(t, unconfirmed, exit)
		shop.Close(t)
	})
	t.Run("kill switch", func(t *testing.T) {
		shop, _ := openGuarded(t)
		collector := StartCollector(t, Setup{})
		collector.AwaitReady(t)
		contain(t, shop)
		asked := time.Now()
		exit, said := reflexctl(t, User{}, "kill-switch", "on", "--reason", "rehearsal")
		require.Zero(t, exit)
		assert.Contains(t, said, "the guard confirms: nothing is held")
		back := shop.PaymentWatch.Await(t, "the original", asked, within, isOriginal)
		t.Logf("original back %.2f s after the command was started", back.Sub(asked).Seconds())
		untaken(t, shop, 2*time.Second)
		exit, _ = reflexctl(t, User{}, "kill-switch", "off")
		assert.Zero(t, exit)
		assert.NoError(t, operated(collector.Journal(t), "uid 0: kill switch on: rehearsal"))
		shop.Close(t)
	})
}
