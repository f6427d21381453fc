// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const pageSize = 4096

// Resident maps size bytes of anonymous memory and touches every page.
func Resident(size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map a working set of %d bytes: %w", size, err)
	}
	// Huge pages only shorten the start; a kernel without them does not matter.
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE)
	for i := 0; i < len(m); i += pageSize {
		m[i] = byte(i >> 12)
	}
	return m, nil
}

// Now is CLOCK_BOOTTIME in ns.
func Now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail on Linux
	return ts.Nano()
}

// leakStep is how often the leak grows.
const leakStep = 10 * time.Millisecond

// Leak touches fresh anonymous memory at rate bytes a second, page by page, for
// ever, in a thread of its own. started is called just before the first page.
//
// A leak that was held up does not catch up: it grows by at most ten steps at
// once, as a program would that leaks a little with each turn of a loop.
func Leak(rate int, at int64, started func(boot, wall int64)) error {
	// Address space is free; memory is charged when a page is touched.
	const reserve = 64 << 30
	m, err := unix.Mmap(-1, 0, reserve, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("reserve address space for the leak: %w", err)
	}
	if err := unix.Madvise(m, unix.MADV_NOHUGEPAGE); err != nil && err != unix.EINVAL {
		return fmt.Errorf("forbid huge pages for the leak: %w", err)
	}
	go func() {
		runtime.LockOSThread()
		time.Sleep(time.Duration(at - Now()))
		started(Now(), time.Now().UnixNano())
		perStep := float64(rate) * leakStep.Seconds()
		var owed float64
		next, last := 0, Now()
		for {
			now := Now()
			owed = min(owed+float64(rate)*float64(now-last)/1e9, 10*perStep)
			last = now
			for owed >= pageSize && next < len(m) {
				m[next] = 1
				next += pageSize
				owed -= pageSize
			}
			time.Sleep(leakStep)
		}
	}()
	return nil
}
