// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A healthy service stays below its limit, and some are near it: page cache and
// tables of pages come on top.
func TestNobodyNeedsMoreThanItsLimit(t *testing.T) {
	for _, name := range Profiles() {
		p, err := ByName(name)
		require.NoError(t, err)
		near := 0
		for _, m := range p.Services {
			share := 0.0
			for _, flag := range []string{"-peak", "-heap"} {
				if i := slices.Index(m.Arguments, flag); i >= 0 {
					bytes, err := strconv.Atoi(m.Arguments[i+1])
					require.NoError(t, err)
					share = float64(bytes) / float64(m.Limit)
				}
			}
			assert.LessOrEqual(t, share, 0.85, m.Name)
			if share >= 0.7 {
				near++
			}
		}
		assert.Positive(t, near, name)
	}
	_, err := ByName("ill")
	assert.ErrorContains(t, err, "there are builds, mixed, services")
}

// resident is how many pages of an arena are there.
func resident(t *testing.T, a *arena) (n int) {
	t.Helper()
	for i := 0; i < len(a.memory); i += pageSize {
		vec := make([]byte, 1)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&a.memory[i])), pageSize, uintptr(unsafe.Pointer(&vec[0])))
		require.Zero(t, errno)
		n += int(vec[0] & 1)
	}
	return n
}

func TestAnArenaUsesWhatItSaysAndGivesItBack(t *testing.T) {
	a, err := newArena(64 * pageSize)
	require.NoError(t, err)
	assert.Zero(t, resident(t, a))
	a.grow(40 * pageSize)
	assert.Equal(t, 40, resident(t, a))
	a.shrink(10 * pageSize)
	assert.Equal(t, 10, resident(t, a))
	a.shrink(20 * pageSize)
	assert.Equal(t, 10*pageSize, a.used, "shrinking is no growing")
	a.grow(100 * pageSize)
	assert.Equal(t, 64, resident(t, a), "there is no more")
	a.touch(3, 1000*pageSize)
}

func TestComputingTakesCPUTime(t *testing.T) {
	runtime.LockOSThread() // the clock is the thread's
	defer runtime.UnlockOSThread()
	before := cpuTime()
	compute(5 * time.Millisecond)
	assert.GreaterOrEqual(t, cpuTime()-before, int64(5*time.Millisecond))
}

func TestTheScheduleIsThatOfTheSeed(t *testing.T) {
	draw := func(seed uint64) (times []time.Duration) {
		l := Life{random: rand.New(rand.NewPCG(seed, 0))}
		for range 5 {
			times = append(times, l.draw(time.Minute))
		}
		return times
	}
	first := draw(1)
	assert.Equal(t, first, draw(1))
	assert.NotEqual(t, first, draw(2))
}
