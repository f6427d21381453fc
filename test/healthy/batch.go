// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is the block device that is read from and written to. Nothing of it is
// ever a file system: pages of it are page cache all the same.
const Disk = "/dev/nullb0"

// span of the disk that is used, so that some of it is read again.
const diskSpan = 1 << 30

// Build runs many short programs, some at once, as make does.
type Build struct {
	Units, Jobs int
	Seed        uint64
	// Self is the program to run as a compiler, "unit" its first argument.
	Self string
}

// Run builds.
func (b *Build) Run(ctx context.Context) error {
	random := rand.New(rand.NewPCG(b.Seed, 3))
	slots := make(chan struct{}, max(b.Jobs, 1))
	var running sync.WaitGroup
	for unit := 0; unit < b.Units && ctx.Err() == nil; unit++ {
		seed := strconv.FormatUint(random.Uint64(), 10)
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			_ = exec.CommandContext(ctx, b.Self, "unit", "-seed", seed).Run() // one that is told to end ends
		})
		compute(time.Duration(random.IntN(4)) * time.Millisecond)
	}
	running.Wait()
	return nil
}

// Unit is one translation unit: reads sources, takes memory as it thinks, and is
// gone.
func Unit(ctx context.Context, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 4))
	a, err := newArena(96 * mebibyte)
	if err != nil {
		return err
	}
	if err := readDisk(ctx, random.Int64N(diskSpan), 256<<10+random.Int64N(2*mebibyte), 0, nil); err != nil {
		return err
	}
	peak := (4 + random.IntN(24)) * mebibyte
	steps := 8 + random.IntN(40)
	for step := 0; step < steps && ctx.Err() == nil; step++ {
		a.grow(peak / steps)
		compute(time.Duration(3+random.IntN(12)) * time.Millisecond)
	}
	return nil
}

// Backup reads a part of the disk from one end to the other and compresses it.
func Backup(ctx context.Context, seed uint64, bytes int64) error {
	random := rand.New(rand.NewPCG(seed, 5))
	squeeze, err := flate.NewWriter(io.Discard, flate.BestSpeed)
	if err != nil {
		return err
	}
	return readDisk(ctx, random.Int64N(diskSpan), bytes, time.Duration(2+random.IntN(10))*time.Millisecond, squeeze)
}

// readDisk reads bytes from offset on, in pieces, with a pause after each, and
// writes each to w, which may be nil.
func readDisk(ctx context.Context, offset, bytes int64, every time.Duration, w io.Writer) error {
	f, err := os.Open(Disk)
	if err != nil {
		return err
	}
	defer f.Close()
	piece := make([]byte, 128<<10)
	for offset &^= int64(pageSize - 1); bytes > 0 && ctx.Err() == nil; bytes -= int64(len(piece)) {
		n, err := f.ReadAt(piece, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", Disk, err)
		}
		offset += int64(n)
		if w != nil {
			_, _ = w.Write(piece[:n/4]) // to nowhere, which does not fail
		}
		if every > 0 {
			pause(ctx, every)
		}
	}
	return nil
}

// Log writes lines to the disk and, whenever it has written enough, rotates: it
// reads what it has written, compresses it and lets go of it.
func Log(ctx context.Context, seed uint64, rate float64, rotate int64) error {
	random := rand.New(rand.NewPCG(seed, 6))
	f, err := os.OpenFile(Disk, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	line := make([]byte, 16<<10)
	for i := range line {
		line[i] = byte(random.IntN(64)) + ' '
	}
	begin := int64(4<<30) + random.Int64N(diskSpan)&^int64(pageSize-1)
	for written := int64(0); ctx.Err() == nil; {
		n := int(rate * turn.Seconds() / float64(len(line)) * 2 * random.Float64())
		for range max(n, 1) {
			if _, err := f.WriteAt(line, begin+written); err != nil {
				return fmt.Errorf("write %s: %w", Disk, err)
			}
			written += int64(len(line))
		}
		if written >= rotate {
			_ = f.Sync() // a disk that has no cache says so
			squeeze, err := flate.NewWriter(io.Discard, flate.BestSpeed)
			if err != nil {
				return err
			}
			if err := readDisk(ctx, begin, written, time.Millisecond, squeeze); err != nil {
				return err
			}
			_ = unix.Fadvise(int(f.Fd()), begin, written, unix.FADV_DONTNEED)
			written = 0
		}
		pause(ctx, turn)
	}
	return nil
}

// Job is what cron starts: short, and soon gone.
func Job(ctx context.Context, seed uint64) error {
	random := rand.New(rand.NewPCG(seed, 7))
	a, err := newArena(32 * mebibyte)
	if err != nil {
		return err
	}
	a.grow((1 + random.IntN(8)) * mebibyte)
	compute(time.Duration(20+random.IntN(150)) * time.Millisecond)
	return readDisk(ctx, random.Int64N(diskSpan), random.Int64N(mebibyte), 0, nil)
}
