// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"runtime"
	"sync/atomic"
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

// heap is memory that is taken and never given back. Address space is free; memory is
// charged when a page is touched.
type heap struct {
	space []byte
	next  atomic.Int64 // of space, what was not taken yet
}

// reserve makes room for all that can be leaked.
func (h *heap) reserve() (err error) {
	const most = 64 << 30
	h.space, err = unix.Mmap(-1, 0, most, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("reserve address space for the leak: %w", err)
	}
	if err := unix.Madvise(h.space, unix.MADV_NOHUGEPAGE); err != nil && err != unix.EINVAL {
		return fmt.Errorf("forbid huge pages for the leak: %w", err)
	}
	return nil
}

// take touches pages, one by one. It is safe for concurrent use.
func (h *heap) take(pages int) {
	from := h.next.Add(int64(pages)*pageSize) - int64(pages)*pageSize
	for at := from; at < from+int64(pages)*pageSize && at < int64(len(h.space)); at += pageSize {
		h.space[at] = 1
	}
}

// Leak touches fresh anonymous memory at rate bytes a second, page by page, for
// ever, in a thread of its own. started is called just before the first page.
//
// A leak that was held up does not catch up: it grows by at most ten steps at
// once, as a program would that leaks a little with each turn of a loop.
func Leak(rate int, at int64, started func(boot, wall int64)) error {
	var h heap
	if err := h.reserve(); err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread()
		time.Sleep(time.Duration(at - Now()))
		started(Now(), time.Now().UnixNano())
		perStep := float64(rate) * leakStep.Seconds()
		var owed float64
		last := Now()
		for {
			now := Now()
			owed = min(owed+float64(rate)*float64(now-last)/1e9, 10*perStep)
			last = now
			pages := int(owed / pageSize)
			h.take(pages)
			owed -= float64(pages * pageSize)
			time.Sleep(leakStep)
		}
	}()
	return nil
}

// churn takes size bytes and gives them back.
func churn(size int) error {
	if size == 0 {
		return nil
	}
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("map %d bytes for a request: %w", size, err)
	}
	for i := 0; i < len(m); i += pageSize {
		m[i] = 1
	}
	return unix.Munmap(m)
}
