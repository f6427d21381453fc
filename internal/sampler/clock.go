// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
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
	// closed. One goroutine waits, and always with the same stop.
	WaitUntil(instant int64, stop <-chan struct{}) bool
}

// SystemClock is the kernel's clock. What its first wait opens is closed by the
// wait that finds the stop closed.
type SystemClock struct {
	timer   *timer
	stopped chan struct{} // closed when the stop has been passed on
}

// Now implements [Clock].
func (*SystemClock) Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail since 2.6.39
	return ts.Nano()
}

// WallTime implements [Clock].
func (*SystemClock) WallTime() int64 { return time.Now().UnixNano() }

// WaitUntil implements [Clock].
func (c *SystemClock) WaitUntil(instant int64, stop <-chan struct{}) bool {
	for {
		select {
		case <-stop:
			c.close()
			return false
		default:
		}
		now := c.Now()
		if now >= instant {
			return true
		}
		if !c.wait(instant, stop) { // interrupted, or there is no timer
			select {
			case <-stop:
			case <-time.After(time.Duration(instant - now)):
			}
		}
	}
}

// wait waits with the timer, opening it if need be, and says whether it came to
// its end.
func (c *SystemClock) wait(instant int64, stop <-chan struct{}) bool {
	if c.timer == nil {
		t, err := newTimer()
		if err != nil {
			return false
		}
		c.timer, c.stopped = t, make(chan struct{})
		go func(stopped chan struct{}) {
			<-stop
			t.interrupt()
			close(stopped)
		}(c.stopped)
	}
	return c.timer.wait(instant) == nil
}

// close frees the timer, once nobody interrupts it any more.
func (c *SystemClock) close() {
	if c.timer == nil {
		return
	}
	<-c.stopped
	c.timer.close()
	c.timer = nil
}
