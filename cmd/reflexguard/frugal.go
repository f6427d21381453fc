// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// processors is how many CPUs run the guard's code at a time. What the Go runtime
	// keeps for each one counts, too: with 64 a guard at rest has 12.5 MiB resident
	// (measured with 8 MiB for its heap), with 2 it has 10.
	processors = 2
	// memoryLimit is what the garbage collector keeps the guard within, besides the
	// 3.5 MiB of its own file.
	memoryLimit = 7 << 20
	// garbageRoom is how much of it has to be left for garbage. With next to none the
	// collector runs more than once for every order, and takes half a CPU where ten
	// orders a second are given (measured, with a limit of 6 MiB).
	garbageRoom = 1 << 20
	// collectAt has it collect from 0.4 MiB of garbage on instead of 4: what is live
	// is little, and a peer can cause as much garbage as it likes.
	collectAt = 10
)

// frugal has this program run on few processors. By the time it begins, the runtime has
// made room for each one of the machine, and gives none of it back.
func frugal() (err error) {
	if runtime.GOMAXPROCS(0) > processors {
		err = again("GOMAXPROCS=" + strconv.Itoa(processors))
	}
	runtime.GOMAXPROCS(min(processors, runtime.GOMAXPROCS(0))) // and does not follow when CPUs come
	return err
}

// again begins this program anew, with one more variable. It returns only an error.
func again(variable string) error {
	name, _, _ := strings.Cut(variable, "=")
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, name+"=") })
	if err := unix.Exec("/proc/self/exe", os.Args, append(env, variable)); err != nil {
		return fmt.Errorf("begin anew with %s: %w", variable, err)
	}
	return nil
}

// collectEarly has little garbage lie about, unless the environment says how much may.
func collectEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// limitMemory limits it once all that stays is there, unless the environment does. A
// limit that leaves no room for garbage is raised: rather does a guard take more than it
// should than that it comes too late.
func limitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	runtime.GC()
	limit := max(memoryLimit, inUse()+garbageRoom)
	if limit > memoryLimit+garbageRoom {
		log.Info("more memory than usual is in use", "limit_bytes", limit, "usual_bytes", memoryLimit)
	}
	debug.SetMemoryLimit(limit)
}

// inUse is what counts for the memory limit and is not there to be had, in bytes.
// Unused parts of what the heap is divided into are not: most are of the wrong size.
func inUse() int64 {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	used := int64(samples[0].Value.Uint64()) //nolint:gosec // a size
	for _, s := range samples[1:] {
		used -= int64(s.Value.Uint64()) //nolint:gosec // a size
	}
	return used
}
