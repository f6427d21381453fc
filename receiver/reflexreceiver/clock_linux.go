// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the wall clock at the zero of CLOCK_BOOTTIME, as the two
// clocks stand to each other now; the zero time where there is no such clock.
func bootTime() time.Time {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(since.Nano())).Round(0) // the wall clock alone
}
