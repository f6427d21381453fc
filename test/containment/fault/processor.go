// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// spin keeps processors busy.
func spin(ctx context.Context, args []string) error {
	var threads int
	var span time.Duration
	err := parse("spin", args, func(f *flag.FlagSet) {
		f.IntVar(&threads, "threads", 0, "how many")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	if err := await(); err != nil {
		return err
	}
	runtime.GOMAXPROCS(threads) // each a thread of its own
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	var group sync.WaitGroup
	for range threads {
		group.Go(func() {
			var sum uint64
			for bound.Err() == nil {
				sum += burn(1 << 16)
			}
			runtime.KeepAlive(sum)
		})
	}
	group.Wait()
	return stay(ctx)
}

// burn computes for a while.
func burn(rounds int) (sum uint64) {
	for i := range rounds {
		sum = sum*6364136223846793005 + uint64(i) // Knuth's MMIX generator
	}
	return sum
}

// fork makes tasks, at a rate and up to a number, and then replaces one by
// another: a fork bomb with a fuse.
func fork(ctx context.Context, args []string) error {
	var rate, count int
	var span time.Duration
	err := parse("fork", args, func(f *flag.FlagSet) {
		f.IntVar(&rate, "rate", 0, "tasks a second")
		f.IntVar(&count, "count", 0, "most tasks alive")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	if err := await(); err != nil {
		return err
	}
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	var alive []int
	start, made := time.Now(), 0
	for bound.Err() == nil {
		for due := int(time.Since(start).Seconds() * float64(rate)); made < due && bound.Err() == nil; made++ {
			if len(alive) >= count {
				endTask(alive[0])
				alive = alive[1:]
			}
			pid, err := newTask()
			if err != nil { // at a limit: a bomb tries again
				made = due
				break
			}
			alive = append(alive, pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return stay(ctx)
}

// newTask forks a task that sleeps until it is killed, or its parent ends. The
// child of a program with threads may do nothing but system calls.
//
//go:norace
func newTask() (int, error) {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	if pid == 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0)
		for {
			_, _, _ = syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
		}
	}
	return int(pid), nil
}

// endTask kills one of our tasks and waits for its end.
func endTask(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL)
	_, _ = unix.Wait4(pid, nil, 0, nil)
}

// build runs short processes side by side, one after the other, as make -j does.
func build(ctx context.Context, args []string) error {
	var jobs int
	var span time.Duration
	err := parse("build", args, func(f *flag.FlagSet) {
		f.IntVar(&jobs, "jobs", 0, "processes at a time")
		f.DurationVar(&span, "for", 0, "how long")
	})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := await(); err != nil {
		return err
	}
	began()
	bound, cancel := bounded(ctx, span)
	defer cancel()
	errs := make(chan error, jobs)
	for range jobs {
		go func() {
			for bound.Err() == nil {
				if err := exec.CommandContext(ctx, self, "compile").Run(); err != nil && ctx.Err() == nil {
					errs <- fmt.Errorf("compile: %w", err)
					return
				}
			}
			errs <- nil
		}()
	}
	for range jobs {
		if err := <-errs; err != nil {
			return err
		}
	}
	return stay(ctx)
}

// compile is one process of a build: some memory, some computing, an end.
func compile(context.Context, []string) error {
	m := make([]byte, 24<<20)
	for i := 0; i < len(m); i += 4096 {
		m[i] = byte(burn(256))
	}
	return nil
}
