// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The suite's own instruments, without Reflex: a test that cannot see a change
// would pass whatever Reflex did.

func TestHarnessLeaksAtItsRateAndStops(t *testing.T) {
	shop := OpenShop(t)
	before := shop.Payment.Usage(t)
	began := shop.Leak(t)
	Eventually(t, 20*time.Second, func() error {
		if grown := int64(shop.Payment.Usage(t)) - int64(before); grown < 200_000_000 {
			return fmt.Errorf("grown by %d bytes", grown)
		}
		return nil
	})
	rate := 200 / time.Since(began).Seconds()
	t.Logf("leaks %.0f MB/s", rate)
	// On a busy host the machine gets less time, and leaks more slowly.
	assert.Greater(t, rate, 10.)
	assert.Less(t, rate, 60.)
	shop.Close(t)
}

func TestHarnessSeesWhatIsWrittenToAKnob(t *testing.T) {
	shop := OpenShop(t)
	began := time.Now()
	shop.Payment.Set(t, "memory.high", 500<<20)
	shop.PaymentWatch.Await(t, "the write", began, 5*time.Second, func(v string) bool { return v == "524288000" })
	shop.Payment.Set(t, "memory.high", "max")
	shop.PaymentWatch.Await(t, "the restoration", began, 5*time.Second, func(v string) bool { return v == "max" })
	assert.Len(t, shop.PaymentWatch.Changes(), 3)
	assert.Len(t, shop.NeighbourWatch.Changes(), 1)
}

func TestHarnessBackendAcceptsAndNeverAnswers(t *testing.T) {
	silent := StartSilent(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+silent.Address+"/v1/metrics", strings.NewReader("{}"))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body.Close()
	}
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, 1, silent.Accepted())
}

func TestHarnessTakesACapabilityAway(t *testing.T) {
	c := MakeCgroup(t, "/harness")
	p := Start(t, "without", c, []string{roleEnv + "=without:21:" + os.Args[0], thenEnv + "=show"}, os.Args[0])
	<-p.Ended()
	assert.Equal(t, uint64(0), capabilities(t, p.Output())&(1<<21), "CAP_SYS_ADMIN")
	assert.NotZero(t, capabilities(t, p.Output())&(1<<12), "CAP_NET_ADMIN")
}

func capabilities(t *testing.T, status string) (set uint64) {
	t.Helper()
	_, rest, found := strings.Cut(status, "CapEff:")
	require.True(t, found)
	_, err := fmt.Sscanf(rest, "%x", &set)
	require.NoError(t, err)
	return set
}
