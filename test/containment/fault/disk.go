// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// block is how much is read or written at a time.
const block = 1 << 20

// storm writes a disk past the page cache, up to a number of bytes.
func storm(ctx context.Context, args []string) error {
	var device string
	var threads int
	var most, region int64
	var span time.Duration
	err := parse("storm", args, func(f *flag.FlagSet) {
		f.StringVar(&device, "device", "", "block `device`, whose content is lost")
		f.IntVar(&threads, "threads", 0, "how many")
		f.Int64Var(&region, "region", 0, "bytes of the device that are used")
		f.Int64Var(&most, "bytes", 0, "bytes to write at most")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	fd, err := unix.Open(device, unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", device, err)
	}
	defer unix.Close(fd)
	if err := await(); err != nil {
		return err
	}
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	errs := make([]error, threads)
	var group sync.WaitGroup
	for i := range threads {
		group.Go(func() {
			// Direct I/O wants aligned memory.
			buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
			if err != nil {
				errs[i] = err
				return
			}
			for at := int64(i) * block; at < most && bound.Err() == nil; at += int64(threads) * block {
				if _, err := unix.Pwrite(fd, buf, at%region); err != nil {
					errs[i] = fmt.Errorf("write %s: %w", device, err)
					return
				}
			}
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return stay(ctx)
}

// read reads a little of a disk now and then, past the page cache, as a database
// does: somebody who waits when somebody else makes the disk busy.
func read(ctx context.Context, args []string) error {
	var device string
	var region int64
	var every, span time.Duration
	err := parse("read", args, func(f *flag.FlagSet) {
		f.StringVar(&device, "device", "", "block `device` to read")
		f.Int64Var(&region, "region", 0, "bytes of the device that are used")
		f.DurationVar(&every, "every", 0, "pause between two reads")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	if region < block || every <= 0 {
		return fmt.Errorf("region must be at least %d and every positive", block)
	}
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", device, err)
	}
	defer unix.Close(fd)
	buf, err := unix.Mmap(-1, 0, block, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("memory for direct I/O: %w", err)
	}
	if err := await(); err != nil {
		return err
	}
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	for at := int64(0); bound.Err() == nil; at += 7 * block {
		if _, err := unix.Pread(fd, buf[:64<<10], at%region); err != nil {
			return fmt.Errorf("read %s: %w", device, err)
		}
		select {
		case <-bound.Done():
		case <-time.After(every):
		}
	}
	return stay(ctx)
}

// cache reads a device again and again through the page cache, which fills with
// it: what grows is the kernel's to take back.
func cache(ctx context.Context, args []string) error {
	var device string
	var span time.Duration
	err := parse("cache", args, func(f *flag.FlagSet) {
		f.StringVar(&device, "device", "", "block `device` to read")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := await(); err != nil {
		return err
	}
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	buf := make([]byte, block)
	for bound.Err() == nil {
		if _, err := f.Read(buf); errors.Is(err, io.EOF) {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
		} else if err != nil {
			return fmt.Errorf("read %s: %w", device, err)
		}
	}
	return stay(ctx)
}
