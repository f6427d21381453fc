// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

func TestAStoppedGuardIsReplacedInTimeForTheShortestLease(t *testing.T) {
	f := newFixture(t)
	stop := f.run(t, hungAfter)
	c := guard.Dial(f.o.socket)
	defer c.Close()
	pid := f.contain(t, c)
	var out arc.Outcome
	release := arc.Order{Cgroup: f.id, Action: arc.ActionMemoryHigh, Verb: arc.Release, Generation: decided(), Reason: "test"}
	require.NoError(t, c.Act(t.Context(), release, &out))
	order := release
	order.Verb, order.TTL, order.Generation, order.Parameter = arc.Hold, int64(guard.MinTTL), decided(), 200<<20
	ordered := time.Now()
	require.NoError(t, c.Act(t.Context(), order, &out))
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP)) // before its next patrol, most likely
	f.restored(t)
	took := time.Since(ordered)
	t.Logf("a guard stopped after a lease of %v: original back after %v", guard.MinTTL, took)
	assert.Less(t, took, guard.MinTTL+time.Second)
	require.NoError(t, stop())
}

// beats has a pulse listen to a child that this test plays.
func beats(t *testing.T, p *pulse) (beat func(due int64), hung <-chan struct{}) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	said := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.listen(r, func() { close(said) })
	}()
	t.Cleanup(func() {
		w.Close()
		<-done
		r.Close()
	})
	return func(due int64) {
		_, err := w.Write(binary.NativeEndian.AppendUint64(nil, uint64(due)))
		require.NoError(t, err)
	}, said
}

func TestAGuardThatGoesOnNamingALeaseThatIsOverIsReplaced(t *testing.T) {
	var now atomic.Int64
	now.Store(int64(time.Hour))
	p := &pulse{hung: time.Minute, clock: now.Load}
	beat, hung := beats(t, p)
	beat(now.Load() + int64(10*time.Second))
	now.Add(int64(10*time.Second + overdue/2))
	beat(now.Load() - int64(overdue/2))
	select {
	case <-hung:
		t.Fatal("it has until overdue")
	case <-time.After(lastChance / 2):
	}
	now.Add(int64(overdue))
	due := now.Load() - int64(overdue) - 1
	for {
		beat(due) // alive, and unable to end it
		select {
		case <-hung:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestAGuardThatComesBackWithinItsLastChanceIsKept(t *testing.T) {
	var now atomic.Int64
	now.Store(int64(time.Hour))
	p := &pulse{hung: time.Minute, clock: now.Load}
	beat, hung := beats(t, p)
	for range 3 { // as after a sleep of the machine: the deadline is long past
		beat(now.Load() - int64(time.Hour))
		beat(0)
	}
	select {
	case <-hung:
		t.Fatal("it was back in time")
	case <-time.After(2 * lastChance):
	}
}

func TestAfterAGuardWithLeasesTheNextHasLittleTimeToRestore(t *testing.T) {
	p := &pulse{hung: hungAfter}
	assert.Equal(t, firstBeat*hungAfter, p.patience(), "nothing is known to be held")
	p.due = 1
	for i, want := range []time.Duration{restoresWithin, 2 * restoresWithin, 4 * restoresWithin} {
		p.slow = i
		assert.Equal(t, want, p.patience(), "a slow machine is given longer each time")
	}
	p.slow = 1000
	assert.Equal(t, firstBeat*hungAfter, p.patience())
	p.due, p.slow = restored, 0
	assert.Equal(t, firstBeat*hungAfter, p.patience(), "it was all given back")
}
