// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import "golang.org/x/sys/unix"

// boottime returns CLOCK_BOOTTIME in ns: it counts while the machine sleeps.
func boottime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return ts.Nano()
}
