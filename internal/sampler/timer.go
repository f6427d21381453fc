// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timer is a timerfd on CLOCK_BOOTTIME in the runtime's poller. Who sleeps in a
// system call holds a thread, and makes the runtime look, every 20 µs for a
// while, whether its processor can be given to another: a quarter of what a
// sampler at rest cost, as measured. Who waits in the poller does not.
type timer struct {
	file *os.File
	conn syscall.RawConn
	set  func(fd uintptr) // sets the timer to instant; kept, as a wait allocates nothing

	instant int64 // CLOCK_BOOTTIME, ns
	failed  error // of set

	expirations [8]byte // of no use, but has to be read
}

func newTimer() (*timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create a timer: %w", err)
	}
	t := &timer{file: os.NewFile(uintptr(fd), "timer")}
	if t.conn, err = t.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, t.file.Close())
	}
	t.set = func(fd uintptr) {
		at := unix.ItimerSpec{Value: unix.NsecToTimespec(t.instant)}
		t.failed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &at, nil)
	}
	return t, nil
}

// wait returns at the instant (CLOCK_BOOTTIME, ns), with an error if it was
// interrupted before.
func (t *timer) wait(instant int64) error {
	t.instant = instant
	if err := t.conn.Control(t.set); err != nil {
		return err
	}
	if t.failed != nil {
		return fmt.Errorf("set a timer: %w", t.failed)
	}
	_, err := t.file.Read(t.expirations[:])
	return err
}

// interrupt ends the wait under way, and every one that follows.
func (t *timer) interrupt() { _ = t.file.SetReadDeadline(time.Unix(1, 0)) }

func (t *timer) close() { _ = t.file.Close() }
