// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pageSize = 4096
	mebibyte = 1 << 20
)

// arena is anonymous memory that is used and given back page by page, as an
// allocator would: what Go itself holds on to stays small beside it.
type arena struct {
	memory []byte
	used   int
}

// newArena reserves size bytes and uses none of them.
func newArena(size int) (*arena, error) {
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes: %w", size, err)
	}
	_ = unix.Madvise(m, unix.MADV_NOHUGEPAGE) // a page a touch, on every kernel
	return &arena{memory: m}, nil
}

// grow uses so many bytes more, as far as there are any.
func (a *arena) grow(bytes int) {
	end := min(a.used+bytes, len(a.memory))
	for i := a.used; i < end; i += pageSize {
		a.memory[i] = byte(i >> 12)
	}
	a.used = end
}

// shrink gives all but so many bytes back to the kernel.
func (a *arena) shrink(to int) {
	to = (to + pageSize - 1) &^ (pageSize - 1)
	if to >= a.used {
		return
	}
	_ = unix.Madvise(a.memory[to:a.used:len(a.memory)], unix.MADV_DONTNEED)
	a.used = to
}

// touch reads so many bytes of what is used, from some place on.
func (a *arena) touch(from, bytes int) (sum int) {
	if a.used == 0 {
		return 0
	}
	for i := 0; i < bytes; i += 64 {
		sum += int(a.memory[(from+i)%a.used])
	}
	return sum
}

// compute uses the CPU for about so long, by the process's own clock.
func compute(span time.Duration) (sum uint64) {
	end := cpuTime() + int64(span)
	for sum = 1; cpuTime() < end; {
		for range 2000 {
			sum = sum*6364136223846793005 + 1442695040888963407
		}
	}
	return sum
}

// cpuTime is what this thread has used, in ns.
func cpuTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) // cannot fail on Linux
	return ts.Nano()
}
