// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"
)

const (
	// shopLimit is the memory.max of the guilty service, leakBytes what it leaks in
	// all: the limit is never met, so no scenario ends by the kernel's hand.
	shopLimit = 900 << 20
	leakBytes = 640 << 20
)

// Shop is the workload of a scenario: a guilty service that leaks when it is told to,
// with a memory limit, and an innocent neighbour.
type Shop struct {
	Payment, Neighbour           Cgroup
	PaymentWatch, NeighbourWatch *Watch
	payment                      *Process
}

// OpenShop starts the workload and waits until it is resident.
func OpenShop(t testing.TB) *Shop {
	t.Helper()
	s := &Shop{Payment: MakeCgroup(t, "/shop/payment"), Neighbour: MakeCgroup(t, "/shop/neighbour")}
	s.Payment.Set(t, "memory.max", shopLimit)
	s.Neighbour.Set(t, "memory.max", 256<<20)
	s.payment = Start(t, "payment", s.Payment, []string{fmt.Sprintf("%s=leaker:%d", roleEnv, leakBytes)}, os.Args[0])
	Start(t, "neighbour", s.Neighbour, []string{roleEnv + "=neighbour"}, os.Args[0])
	Eventually(t, 10*time.Second, func() error {
		if a, b := s.Payment.Usage(t), s.Neighbour.Usage(t); a < 64<<20 || b < 32<<20 {
			return fmt.Errorf("the shop is not resident: payment has %d, neighbour %d bytes", a, b)
		}
		return nil
	})
	s.PaymentWatch, s.NeighbourWatch = WatchHigh(t, s.Payment), WatchHigh(t, s.Neighbour)
	return s
}

// Leak makes the payment service leak from now on and returns the instant.
func (s *Shop) Leak(t testing.TB) time.Time {
	t.Helper()
	now := time.Now()
	s.payment.Signal(t, syscall.SIGUSR1)
	return now
}

// Close fails the test if the workload was not treated as promised whatever the
// scenario: nobody killed, the innocent untouched.
func (s *Shop) Close(t testing.TB) {
	t.Helper()
	s.NeighbourWatch.Untouched(t)
	if n := s.Payment.Event(t, "oom_kill"); n != 0 {
		t.Errorf("the payment service was OOM-killed %d times", n)
	}
}
