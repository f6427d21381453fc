// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Clock is time as the sampler needs it.
type Clock interface {
	// Now is the instant, CLOCK_BOOTTIME in ns.
	Now() int64
	// WallTime is the time of day in ns since the Unix epoch.
	WallTime() int64
	// WaitUntil returns true at the instant, or false as soon as stop is
	// closed.
	WaitUntil(instant int64, stop <-chan struct{}) bool
}

// longestSleep bounds how long a stop can go unnoticed.
const longestSleep = int64(50 * time.Millisecond)

// SystemClock is the kernel's clock. It waits with clock_nanosleep, which wakes
// within the timer slack (50 µs); the runtime's timers are polled in whole
// milliseconds, a tenth of the fastest interval.
type SystemClock struct{}

// Now implements [Clock].
func (SystemClock) Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail since 2.6.39
	return ts.Nano()
}

// WallTime implements [Clock].
func (SystemClock) WallTime() int64 { return time.Now().UnixNano() }

// WaitUntil implements [Clock].
func (c SystemClock) WaitUntil(instant int64, stop <-chan struct{}) bool {
	for {
		select {
		case <-stop:
			return false
		default:
		}
		now := c.Now()
		if now >= instant {
			return true
		}
		ts := unix.NsecToTimespec(min(instant, now+longestSleep))
		err := unix.ClockNanosleep(unix.CLOCK_BOOTTIME, unix.TIMER_ABSTIME, &ts, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			time.Sleep(time.Duration(min(instant-now, longestSleep)))
		}
	}
}
