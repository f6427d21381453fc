// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// dropIn is somebody else's collector with Reflex in it: its own configuration,
// allowed to act, with a guard inside.
func dropIn(t *testing.T, role string) Setup {
	t.Helper()
	enforce := Artefact(t, "enforce.yaml", `
extensions:
  reflex:
    mode: enforce
    lease: {ttl: 5s, renew: 1s}
    # The guilty service is a few seconds old when it leaks.
    policy: {startup_grace: 5s}
processors:
  mahalanobis:
    # Scenarios are calm for seconds: a limit for a week cannot be known by then.
    warmup: 12s
    false_alarm_interval: 10m
`)
	return Setup{Binary: "/bin/otelcol-custom", Guard: "embedded", Role: role, Configs: []string{"/etc/drop-in.yaml", enforce}}
}

func TestDropInContainsAloneAndRestoresAfterItsDeath(t *testing.T) {
	shop := OpenShop(t)
	shop.Payment.Set(t, "memory.high", original)
	collector := StartCollector(t, dropIn(t, ""))
	collector.AwaitReady(t)
	contain(t, shop)

	// With the guard inside nobody is left to give the limit back: the next start
	// does, before anything else.
	collector.Kill(t)
	assert.NotEqual(t, original, shop.Payment.Get(t, "memory.high"))
	assert.Contains(t, Records(t), shop.Payment.Dir())
	restarted := time.Now()
	collector.Again(t)
	collector.AwaitStatus(t)
	assert.Equal(t, original, shop.Payment.Get(t, "memory.high"), "restored before the status page answers")
	assert.Empty(t, Records(t))
	back := shop.PaymentWatch.Await(t, "the original", restarted, time.Second, isOriginal)
	t.Logf("original back %.2f s after the start", back.Sub(restarted).Seconds())
	shop.Close(t)
}

func TestDropInRefusesToEnforceWithoutTheCapability(t *testing.T) {
	const capSysAdmin = "21"
	collector := LaunchCollector(t, dropIn(t, "without:"+capSysAdmin))
	Eventually(t, 40*time.Second, func() error {
		select {
		case <-collector.Ended():
			return nil
		default:
			return errTooEarly
		}
	})
	assert.NotZero(t, collector.ExitCode())
	assert.Contains(t, collector.Output(), "CAP_SYS_ADMIN")
	assert.Contains(t, collector.Output(), "guard")
}
