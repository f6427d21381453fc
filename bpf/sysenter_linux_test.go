// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func openSyscalls(t testing.TB, window, period time.Duration) *Syscalls {
	t.Helper()
	s, err := OpenSyscalls(window, period)
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// callers makes the given calls in turn, in a thread of its own, until stopped.
func callers(t *testing.T, numbers ...uintptr) (made *atomic.Uint64, stop func()) {
	t.Helper()
	made = &atomic.Uint64{}
	var over atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		for i := 0; !over.Load(); i++ {
			_, _, _ = unix.RawSyscall(numbers[i%len(numbers)], 0, 0, 0)
			made.Add(1)
		}
	}()
	stop = func() {
		if !over.Swap(true) {
			<-ended
		}
	}
	t.Cleanup(stop)
	return made, stop
}

// firstWindow waits for what the first window shows.
func firstWindow(t *testing.T, s *Syscalls) (rate, entropy float64) {
	t.Helper()
	into := absent()
	require.Eventually(t, func() bool {
		return s.Read(into) == nil && !math.IsNaN(into[arc.NodeSyscallRate])
	}, 10*time.Second, 5*time.Millisecond)
	return into[arc.NodeSyscallRate], into[arc.NodeSyscallEntropy]
}

// While attached every call is counted, by its number; while not, none is.
func TestSystemCallsAreCountedInTheWindowOnly(t *testing.T) {
	s := &Syscalls{}
	l, err := s.open()
	unable(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const calls = 20000
	call := func() {
		for range calls {
			_ = os.Getppid()
		}
	}
	var before, within, after callCounts
	s.sum(&before)
	call()
	s.sum(&within)
	require.NoError(t, l.Close())
	delta := within[unix.SYS_GETPPID] - before[unix.SYS_GETPPID]
	t.Logf("%d of %d calls counted", delta, calls)
	assert.GreaterOrEqual(t, delta, uint64(calls))
	assert.Less(t, delta, uint64(calls+1000), "others rarely ask for their parent")

	require.Eventually(t, func() bool { // one that had begun may still be counting
		before = callCounts{}
		s.sum(&before)
		call()
		after = callCounts{}
		s.sum(&after)
		return before == after
	}, 5*time.Second, time.Millisecond)
}

func TestRateAndEntropyOfAWindow(t *testing.T) {
	var before, after callCounts
	before[0], after[0] = 7, 7
	for _, number := range []int{1, 2, 3, 511} {
		before[number], after[number] = 10, 35
	}
	w := rateBetween(&before, &after, 500*time.Millisecond)
	assert.InDelta(t, 200, w.rate, 1e-9)
	assert.InDelta(t, math.Log(4)/math.Log(callNumbers), w.entropy, 1e-9)
}

// The rate of a window is that of the caller, give or take what the scheduler
// does with it meanwhile: between half and twice of it, and a million a second
// for others. The entropy is that of its calls, ln k / ln 512 for k equally
// frequent ones, within 0.06. Others call as well: one window of those of ten
// seconds must agree.
func TestSystemCallRateAndEntropyAreTheCallers(t *testing.T) {
	for name, tc := range map[string]struct {
		numbers []uintptr
		want    float64
	}{
		"one call":   {[]uintptr{unix.SYS_GETPPID}, 0},
		"four calls": {[]uintptr{unix.SYS_GETPPID, unix.SYS_GETUID, unix.SYS_GETGID, unix.SYS_GETEUID}, math.Log(4) / math.Log(callNumbers)},
	} {
		t.Run(name, func(t *testing.T) {
			made, stop := callers(t, tc.numbers...)
			require.Eventually(t, func() bool { return made.Load() > 0 }, 10*time.Second, time.Millisecond)
			agreed := false
			for end := time.Now().Add(10 * time.Second); !agreed && time.Now().Before(end); {
				began, first := time.Now(), made.Load()
				s := openSyscalls(t, 100*time.Millisecond, time.Hour)
				rate, entropy := firstWindow(t, s)
				own := float64(made.Load()-first) / time.Since(began).Seconds()
				require.NoError(t, s.Close())
				t.Logf("rate %.0f/s, of which %.0f/s are the test's; entropy %.3f, of the test's %.3f", rate, own, entropy, tc.want)
				agreed = rate > own/2 && rate < 2*own+1e6 && math.Abs(entropy-tc.want) < 0.06
			}
			assert.True(t, agreed)
			stop()
		})
	}
}

func TestSystemCallsAreCountedAgainEveryPeriod(t *testing.T) {
	s := openSyscalls(t, 10*time.Millisecond, 50*time.Millisecond)
	firstWindow(t, s)
	first := s.latest.Load()
	require.Eventually(t, func() bool { return s.latest.Load() != first }, 10*time.Second, 5*time.Millisecond)
	assert.Positive(t, s.latest.Load().rate)
}

func TestSystemCallsAreReadWithoutAllocation(t *testing.T) {
	s := openSyscalls(t, 10*time.Millisecond, time.Hour)
	firstWindow(t, s)
	into := absent()
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if err := s.Read(into); err != nil {
			t.Error(err)
		}
	}))
}

func TestSystemCallsEndWithinAWindow(t *testing.T) {
	s := openSyscalls(t, time.Hour, 2*time.Hour)
	into := absent()
	require.NoError(t, s.Read(into))
	assert.True(t, math.IsNaN(into[arc.NodeSyscallRate]), "no window has passed")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
}

// BenchmarkGetppid is the price of the program, while it is attached, to a
// caller that does nothing else.
func BenchmarkGetppid(b *testing.B) {
	call := func(b *testing.B) {
		b.Helper()
		for b.Loop() {
			_ = unix.Getppid()
		}
	}
	b.Run("without", call)
	b.Run("with", func(b *testing.B) {
		openSyscalls(b, time.Hour, 2*time.Hour)
		call(b)
	})
}

// BenchmarkDutyCycle is what the same caller loses to the default duty cycle,
// attaching and detaching included: one period with it and one without in turn,
// by the CPU time of the calling thread, so that other load matters little.
func BenchmarkDutyCycle(b *testing.B) {
	const window, period = 100 * time.Millisecond, 10 * time.Second
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var with, without float64
	for b.Loop() {
		s := openSyscalls(b, window, period)
		with += timePerCall(period)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		without += timePerCall(period)
	}
	b.ReportMetric(with/float64(b.N), "ns/call")
	b.ReportMetric(without/float64(b.N), "ns/call-without")
	b.ReportMetric(100*(with/without-1), "%loss")
}

// timePerCall calls for a while and returns the CPU time of a call in ns.
func timePerCall(span time.Duration) float64 {
	const batch = 10000
	calls, began := 0, threadTime()
	for end := time.Now().Add(span); time.Now().Before(end); calls += batch {
		for range batch {
			_ = unix.Getppid()
		}
	}
	return float64(threadTime()-began) / float64(calls)
}

func threadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}
