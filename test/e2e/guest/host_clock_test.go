// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// clockNow returns a clock of the kernel.
func clockNow(t testing.TB, clock int32) time.Duration {
	t.Helper()
	var ts unix.Timespec
	require.NoError(t, unix.ClockGettime(clock, &ts))
	return time.Duration(ts.Nano())
}

// setClock steps the time of day.
func setClock(t testing.TB, by time.Duration) {
	t.Helper()
	ts := unix.NsecToTimespec(int64(clockNow(t, unix.CLOCK_REALTIME) + by))
	require.NoError(t, unix.ClockSettime(unix.CLOCK_REALTIME, &ts))
}

// sampled is what the arc saw of a tick.
type sampled struct {
	Scheduled, Taken, Wall, Interval time.Duration
	Missed                           uint32
	Node                             arc.Node
	Judgement                        arc.Judgement
}

// arcAlone is the arc without collector: the sampler, what it reads, and an engine.
type arcAlone struct {
	engine *detect.Engine
	mu     sync.Mutex
	ticks  []sampled
}

// startArc samples until the test ends.
func startArc(t *testing.T, warmup time.Duration) *arcAlone {
	t.Helper()
	src := sources.Open(sources.Settings{MaxCgroups: 256}, new(sampler.SystemClock))
	a := &arcAlone{engine: detect.NewEngine(detect.Config{Warmup: warmup})}
	s := sampler.New(sampler.Settings{
		Source: "ebpf", Interval: 100 * time.Millisecond, Node: src.Node, Cgroups: src.Cgroups,
		Observer: a, Clock: new(sampler.SystemClock), Handover: sampler.NewHandover(), Recorder: a,
	})
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { s.Run(stop) })
	t.Cleanup(func() {
		close(stop)
		running.Wait()
		require.NoError(t, src.Close())
		if src.Names != nil {
			_ = src.Names.Close()
		}
	})
	return a
}

// Observe implements sampler.Observer.
func (a *arcAlone) Observe(s *arc.Sample, j *arc.Judgement) {
	a.engine.Judge(s, arc.Control{}, j)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ticks = append(a.ticks, sampled{
		time.Duration(s.Scheduled), time.Duration(s.Taken), time.Duration(s.WallTime), time.Duration(s.Interval), s.Missed, s.Node, *j,
	})
}

// Control implements sampler.Observer.
func (a *arcAlone) Control() arc.Control { return arc.Control{} }

// Record implements sampler.Recorder.
func (a *arcAlone) Record(*sampler.Tick) {}

func (a *arcAlone) seen() []sampled {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]sampled(nil), a.ticks...)
}

// await waits for n ticks beyond those seen before.
func (a *arcAlone) await(t *testing.T, before, n int) []sampled {
	t.Helper()
	var all []sampled
	Eventually(t, 60*time.Second, func() error {
		if all = a.seen(); len(all) < before+n {
			return fmt.Errorf("%d ticks of %d", len(all)-before, n)
		}
		return nil
	})
	return all
}

// onGrid asserts that ticks come at their interval, none twice and none early,
// and that those between two are counted.
func onGrid(t *testing.T, ticks []sampled) {
	t.Helper()
	for i, s := range ticks {
		require.Zero(t, s.Scheduled%s.Interval)
		require.GreaterOrEqual(t, s.Taken, s.Scheduled)
		if i > 0 {
			require.Equal(t, time.Duration(s.Missed+1)*s.Interval, s.Scheduled-ticks[i-1].Scheduled, "tick %d", i)
		}
	}
}

// TestHostWhoseClockIsSet sets the real clock under the real collector.
func TestHostWhoseClockIsSet(t *testing.T) {
	metrics := filepath.Join(t.TempDir(), "metrics.jsonl")
	collector := StartCollector(t, Setup{Mode: "observe", Guard: "none", Metrics: metrics})
	sampling(t, collector)
	alone := startArc(t, time.Hour)
	offset := clockNow(t, unix.CLOCK_REALTIME) - clockNow(t, unix.CLOCK_BOOTTIME)
	offsets := []time.Duration{offset}
	for _, step := range []time.Duration{-time.Hour, 2 * time.Hour, -time.Hour} {
		before := alone.await(t, 0, 1)
		was, err := read[Status]("/status")
		require.NoError(t, err)
		setClock(t, step)
		offset += step
		offsets = append(offsets, offset)
		alone.await(t, len(before), 15)
		Eventually(t, 20*time.Second, func() error {
			s, err := read[Status]("/status")
			if err == nil && (s.Input.Sequence < was.Input.Sequence+10 || s.Input.Stale) {
				err = fmt.Errorf("after a step by %v: sample %d after %d, stale: %v", step, s.Input.Sequence, was.Input.Sequence, s.Input.Stale)
			}
			return err
		})
	}
	ticks := alone.seen()
	onGrid(t, ticks)
	for _, s := range ticks {
		// Within what may lie between reading one clock and the other.
		require.Less(t, nearest(offsets, s.Wall-s.Taken), 10*time.Second, "the time of day is that of the clock")
	}

	collector.Stop(t)
	uptime := clockNow(t, unix.CLOCK_BOOTTIME)
	ages := map[string]time.Duration{}
	epochs := map[time.Duration]int{}
	for _, md := range Delivered(t, metrics) {
		for _, p := range Points(md) {
			if !p.Sum {
				continue
			}
			require.LessOrEqual(t, p.StartTimestamp(), p.Timestamp(), p.Name)
			age := time.Duration(p.Timestamp() - p.StartTimestamp())
			require.LessOrEqual(t, age, uptime+time.Second, p.Name)
			if p.Name != "system.cpu.busy.time" {
				continue
			}
			// Since boot: its age is the machine's, whatever the clock says.
			require.Greater(t, age, ages[p.Name]-time.Second)
			ages[p.Name] = age
			epochs[time.Duration(p.StartTimestamp()).Round(time.Minute)]++
		}
	}
	assert.Positive(t, ages["system.cpu.busy.time"])
	assert.Len(t, epochs, 3, "it began at three times of day, by clocks an hour apart: %v", epochs)
}

func nearest(all []time.Duration, to time.Duration) time.Duration {
	least := time.Duration(1<<63 - 1)
	for _, d := range all {
		least = min(least, (to - d).Abs())
	}
	return least
}
