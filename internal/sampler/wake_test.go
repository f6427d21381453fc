// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/wake"
)

// fakeWatch lets causes begin at given times, in ms like scheduled's, and is
// told of by the first look thereafter.
type fakeWatch struct {
	begins  map[int64]wake.Cause
	always  bool // something begins at every look
	looks   []int64
	lastSaw int64
}

func (w *fakeWatch) Look(now int64) (begun wake.Causes) {
	at := now/ms - 1_000_000
	w.looks = append(w.looks, at)
	for begins, cause := range w.begins {
		if begins > w.lastSaw && begins <= at {
			begun = begun.With(cause)
		}
	}
	w.lastSaw = at
	if w.always {
		begun = begun.With(wake.ForkSurge)
	}
	return begun
}

func newWatchedBench(interval time.Duration, begins map[int64]wake.Cause) (*bench, *fakeWatch) {
	b, w := newBench(1), &fakeWatch{begins: begins}
	set := b.set
	set.Interval, set.Watch = interval, w
	b.Sampler = New(set)
	return b, w
}

// run takes n ticks as Run does.
func (b *bench) run(n int) {
	for range n {
		b.wait(nil)
		b.Tick()
	}
}

// early returns which ticks say that they are.
func (b *bench) early() (ticks []int) {
	for i := range b.ticks.all {
		if b.ticks.all[i].Early {
			ticks = append(ticks, i)
		}
	}
	return ticks
}

func steps(from, to, by int64) (at []int64) {
	for ; from <= to; from += by {
		at = append(at, from)
	}
	return at
}

func TestASlowSamplerIsWokenAndFallsAsleepAgain(t *testing.T) {
	b, w := newWatchedBench(time.Second, map[int64]wake.Cause{2310: wake.OOMKill})
	b.run(2 + 51 + 3)
	want := append([]int64{1000, 2000}, steps(2400, 7400, 100)...) // until 5 s are over
	assert.Equal(t, append(want, 8000, 9000, 10_000), b.scheduled())
	assert.Equal(t, []int{2}, b.early())
	for i, s := range b.arc.seen {
		assert.Equal(t, 1000*ms, s.Period, "decisions keep their pace")
		interval := 100 * ms
		if i <= 2 || i > 52 { // that which was waited for
			interval = 1000 * ms
		}
		assert.Equal(t, interval, s.Interval, "tick %d", i)
		assert.Zero(t, s.Missed)
		assert.Zero(t, b.ticks.all[i].Lateness, "tick %d", i)
	}
	for i := range b.ticks.all {
		woken := wake.Causes(0)
		if i == 2 {
			woken = woken.With(wake.OOMKill)
		}
		assert.Equal(t, woken, b.ticks.all[i].Woken, "tick %d", i)
	}
	assert.Equal(t, steps(100, 9900, 100), w.looks, "one look each 100 ms, and no more")
}

func TestAStormOfCausesIsNoStormOfTicks(t *testing.T) {
	b, w := newWatchedBench(10*time.Second, nil)
	w.always = true
	b.run(200)
	assert.Equal(t, steps(100, 20_000, 100), b.scheduled())
	assert.Equal(t, []int{0}, b.early(), "who is awake is not woken")
	assert.True(t, b.ticks.all[7].Woken.Has(wake.ForkSurge), "but told of")
}

func TestAWakeIsDeliveredAtOnceAndDeliveriesKeepTheirPace(t *testing.T) {
	b, _ := newWatchedBench(time.Second, map[int64]wake.Cause{1250: wake.MemoryStall})
	var delivered []int64
	own := &arc.Sample{}
	for range 30 {
		b.run(1)
		var ok bool
		if own, _, ok = b.out.Take(own); ok {
			delivered = append(delivered, own.Scheduled/ms-1_000_000)
		}
	}
	assert.Equal(t, []int64{1000, 1300, 2000, 3000, 4000}, delivered)
}

// Its own instants are when decisions and deliveries fall due, whether or not
// they are on the faster grid.
func TestTheInstantsOfItsOwnIntervalAreKeptWhileAwake(t *testing.T) {
	b, _ := newWatchedBench(250*time.Millisecond, map[int64]wake.Cause{290: wake.CPUStall})
	b.run(8)
	assert.Equal(t, []int64{250, 300, 400, 500, 600, 700, 750, 800}, b.scheduled())
}

func TestACauseAtTheInstantOfATickWaitsForTheNextLook(t *testing.T) {
	b, _ := newWatchedBench(time.Second, map[int64]wake.Cause{1000: wake.IOStall})
	b.run(3)
	assert.Equal(t, []int64{1000, 1100, 1200}, b.scheduled(), "never two ticks at one instant")
}

func TestALateLookIsNotMadeUpFor(t *testing.T) {
	b, w := newWatchedBench(time.Second, map[int64]wake.Cause{1500: wake.IOStall})
	b.run(1)
	b.clock.now += 640 * ms // the thread did not run
	b.run(3)
	assert.Equal(t, []int64{1000, 1600, 1700, 1800}, b.scheduled())
	assert.Equal(t, 40*ms, b.ticks.all[1].Lateness)
	assert.Equal(t, []int64{1640, 1700}, w.looks[len(w.looks)-2:])
}

func TestMissedTicksAreCountedWhileAwake(t *testing.T) {
	b, _ := newWatchedBench(time.Second, map[int64]wake.Cause{1500: wake.IOStall})
	b.run(2)
	b.node.takes = 350 * ms
	b.run(1)
	b.node.takes = 0
	b.run(2)
	assert.Equal(t, []int64{1000, 1500, 1600, 1900, 2000}, b.scheduled())
	assert.Equal(t, uint32(2), b.arc.seen[3].Missed)
	assert.Zero(t, b.arc.seen[4].Missed)
}

// The arc's word counts for more, and a sleeper that it has made fast is not
// early.
func TestTheArcAsksForMoreThanTheWatch(t *testing.T) {
	b, _ := newWatchedBench(time.Second, map[int64]wake.Cause{1950: wake.IOStall})
	b.arc.asks = map[uint64]int64{2: 10 * ms, 12: 0}
	b.run(15)
	want := append([]int64{1000}, steps(2000, 2100, 10)...)
	assert.Equal(t, append(want, 2200, 2300, 2400), b.scheduled(), "and awake once the arc is content")
	assert.Empty(t, b.early())
}

func TestAFastSamplerIsNotWatchedFor(t *testing.T) {
	for _, interval := range []time.Duration{FastestInterval, WakeInterval} {
		b, w := newWatchedBench(interval, nil)
		w.always = true
		b.run(10)
		assert.Empty(t, w.looks)
		assert.Empty(t, b.early())
	}
}

func TestASleeperNoticesThatItIsStopped(t *testing.T) {
	b, _ := newWatchedBench(10*time.Second, nil)
	b.set.Clock = new(SystemClock)
	stop, ended := make(chan struct{}), make(chan struct{})
	b.next, b.watch.next = following(b.set.Clock.Now(), b.interval), 0
	go func() {
		defer close(ended)
		b.Run(stop)
	}()
	close(stop)
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the sampler did not notice that it was stopped")
	}
}

func TestATickThatWasWokenAllocatesNothing(t *testing.T) {
	b, w := newWatchedBench(time.Second, nil)
	b.arc.seen, b.ticks.keep = nil, false
	w.always, w.looks = true, make([]int64, 0, 1000)
	own := &arc.Sample{}
	tick := func() {
		b.run(1)
		own, _, _ = b.out.Take(own)
	}
	for range 40 {
		tick()
	}
	require.Zero(t, testing.AllocsPerRun(100, tick))
}
