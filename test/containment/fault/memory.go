// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

// leak grows for ever, as the payment service of the demonstration does.
func leak(ctx context.Context, args []string) error {
	var size, rate int
	err := parse("leak", args, func(f *flag.FlagSet) {
		f.IntVar(&size, "resident", 0, "working set in bytes")
		f.IntVar(&rate, "rate", 0, "leak in bytes a second")
	})
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	if _, err := workload.Resident(size); err != nil {
		return err
	}
	if err := await(); err != nil {
		return err
	}
	if err := workload.Leak(rate, workload.Now(), func(int64, int64) { began() }); err != nil {
		return err
	}
	return stay(ctx)
}

// grow takes more memory once and then has enough: a heap that fills at the
// start, or doubles.
func grow(ctx context.Context, args []string) error {
	var size, more, rate int
	err := parse("grow", args, func(f *flag.FlagSet) {
		f.IntVar(&size, "resident", 0, "working set in bytes")
		f.IntVar(&more, "more", 0, "bytes to grow by")
		f.IntVar(&rate, "rate", 0, "growth in bytes a second")
	})
	if err != nil {
		return err
	}
	if _, err := workload.Resident(size); err != nil {
		return err
	}
	m, err := unix.Mmap(-1, 0, more, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", more, err)
	}
	_ = unix.Madvise(m, unix.MADV_NOHUGEPAGE)
	if err := await(); err != nil {
		return err
	}
	began()
	start := time.Now()
	page := os.Getpagesize()
	for next := 0; next < len(m) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		due := min(int(time.Since(start).Seconds()*float64(rate)), len(m))
		for ; next < due; next += page {
			m[next] = 1
		}
	}
	return stay(ctx)
}

// thrash goes round a working set that is larger than the limit of its cgroup.
func thrash(ctx context.Context, args []string) error {
	var size int
	var span time.Duration
	err := parse("thrash", args, func(f *flag.FlagSet) {
		f.IntVar(&size, "size", 0, "working set in bytes")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map %d bytes: %w", size, err)
	}
	_ = unix.Madvise(m, unix.MADV_NOHUGEPAGE)
	if err := await(); err != nil {
		return err
	}
	began()
	runtime.LockOSThread()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	page := os.Getpagesize()
	for bound.Err() == nil {
		for i := 0; i < len(m) && bound.Err() == nil; i += page {
			m[i]++
		}
	}
	return stay(ctx)
}
