// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sampler

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const ms = int64(time.Millisecond)

// fakeClock stands still but for what a test or a reader makes it do.
type fakeClock struct {
	now     int64
	stepped int64 // how far the time of day was set, ns
	slept   int64 // how long the machine was suspended, ns
}

func (c *fakeClock) Now() int64      { return c.now }
func (c *fakeClock) WallTime() int64 { return 1e18 + c.now + c.stepped }
func (c *fakeClock) WaitUntil(instant int64, stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	default:
		c.now = max(c.now, instant)
		return true
	}
}

// fakeNode fills one dimension and takes as long as a test wants.
type fakeNode struct {
	clock *fakeClock
	takes int64
	err   error
}

func (n *fakeNode) Read(into *arc.Node) error {
	n.clock.now += n.takes
	into[arc.NodeForks]++ // NaN unless the sampler forgot to clear it
	into[arc.NodeExecs] = 5
	return n.err
}

// fakeCgroups holds n cgroups whose usage grows.
type fakeCgroups struct {
	n     int
	sweep uint64
	err   error
}

func (c *fakeCgroups) Sweep(into *arc.Sweep) error {
	c.sweep++
	into.Reset()
	for i := range c.n {
		row := into.Append(uint64(i+1), uint64(i))
		for f := range arc.NumCgroupFields {
			into.Set(f, row, c.sweep*uint64(i+1)) // every column, as BPF does
		}
	}
	return c.err
}

// fakeArc records what it is shown and asks for what it is told to.
type fakeArc struct {
	seen    []arc.Sample
	asks    map[uint64]int64 // from this sequence on
	alarm   uint64           // is watchful from this sequence on
	control arc.ControlWord
}

func (a *fakeArc) Observe(s *arc.Sample, j *arc.Judgement) {
	if a.seen != nil {
		a.seen = append(a.seen, arc.Sample{
			Source: s.Source, Sequence: s.Sequence, Scheduled: s.Scheduled, Taken: s.Taken, WallTime: s.WallTime,
			Interval: s.Interval, Period: s.Period, Missed: s.Missed, Node: s.Node,
		})
	}
	if interval, ok := a.asks[s.Sequence]; ok {
		a.control.Store(arc.Control{Interval: interval})
	}
	if a.alarm != 0 && s.Sequence >= a.alarm {
		a.control.Store(arc.Control{Watchful: true})
	}
	j.Sequence = s.Sequence
}

func (a *fakeArc) Control() arc.Control { return a.control.Load() }

// ticks collects what the ticks say about themselves.
type ticks struct {
	all  []Tick
	keep bool
}

func (r *ticks) Record(t *Tick) {
	if r.keep {
		r.all = append(r.all, *t)
	}
}

type bench struct {
	clock   *fakeClock
	node    *fakeNode
	cgroups *fakeCgroups
	arc     *fakeArc
	ticks   *ticks
	out     *Handover
	*Sampler
}

func newBench(cgroups int) *bench {
	clock := &fakeClock{now: 1_000_000*ms + 37*ms}
	b := &bench{
		clock: clock, node: &fakeNode{clock: clock}, cgroups: &fakeCgroups{n: cgroups},
		arc: &fakeArc{seen: []arc.Sample{}}, ticks: &ticks{keep: true}, out: NewHandover(),
	}
	b.Sampler = New(Settings{
		Source: "ebpf", Interval: 100 * time.Millisecond, Node: b.node, Cgroups: b.cgroups,
		Observer: b.arc, Clock: clock, Handover: b.out, Recorder: b.ticks,
	})
	return b
}

// take takes n ticks, each at the instant it is due.
func (b *bench) take(n int) {
	for range n {
		b.clock.now = max(b.clock.now, b.next)
		b.Tick()
	}
}

func (b *bench) scheduled() (at []int64) {
	for _, s := range b.arc.seen {
		at = append(at, s.Scheduled/ms-1_000_000)
	}
	return at
}

func TestTicksStayOnTheGridHoweverLateOneIs(t *testing.T) {
	b := newBench(1)
	b.take(2)
	b.node.takes = 90 * ms // late, but not for the next tick
	b.take(1)
	b.node.takes = 0
	b.clock.now += 50 * ms
	b.take(2)
	assert.Equal(t, []int64{100, 200, 300, 400, 500}, b.scheduled())
	for i, s := range b.arc.seen {
		assert.Equal(t, uint64(i+1), s.Sequence)
		assert.Zero(t, s.Missed)
		assert.Equal(t, 100*ms, s.Interval)
		assert.Equal(t, "ebpf", s.Source)
		assert.Equal(t, 1e18+s.Taken, s.WallTime)
	}
	assert.Equal(t, 40*ms, b.arc.seen[3].Taken-b.arc.seen[3].Scheduled)
	assert.Equal(t, 40*ms, b.ticks.all[3].Lateness)
	assert.Equal(t, 90*ms, b.ticks.all[2].Duration)
}

func TestTicksTakeNoMoreThanTheirShareOfTheTime(t *testing.T) {
	for _, tt := range []struct{ takes, interval int64 }{{0, 10}, {2, 10}, {4, 20}, {6, 50}, {20, 100}, {60, 100}} {
		b := newBench(1)
		b.arc.asks = map[uint64]int64{1: 10 * ms}
		b.node.takes = tt.takes * ms
		b.take(60)
		last := b.arc.seen[len(b.arc.seen)-1]
		assert.Equal(t, tt.interval*ms, last.Interval, "a tick takes %d ms", tt.takes)
		assert.Zero(t, last.Missed)
		b.node.takes = 0
		b.take(40)
		assert.Equal(t, 10*ms, b.arc.seen[len(b.arc.seen)-1].Interval, "and as fast as asked for once they are short again")
	}
	b := newBench(1)
	b.set.Interval = 125 * time.Millisecond // which no multiple of 10 ms divides
	b.arc.asks = map[uint64]int64{1: 10 * ms}
	b.take(20)
	assert.Equal(t, 10*ms, b.arc.seen[19].Interval)
	b.node.takes = 9 * ms
	b.take(60)
	assert.Equal(t, 125*ms, b.arc.seen[79].Interval)

	b = newBench(1)
	b.node.takes = 90 * ms
	b.take(20)
	assert.Equal(t, 100*ms, b.arc.seen[19].Interval, "what is configured is the operator's affair")
}

func TestMissedTicksAreCountedAndNeverQueued(t *testing.T) {
	for _, tt := range []struct {
		name   string
		takes  int64
		next   int64
		missed uint32
	}{
		{"as long as an interval", 100 * ms, 200, 0},
		{"just short of two", 200*ms - 1, 200, 0},
		{"two intervals", 200 * ms, 300, 1},
		{"three and a half", 350 * ms, 400, 2},
		{"a suspended machine", 3600_000 * ms, 3600_100, 35_999},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(1)
			b.node.takes = tt.takes
			b.take(1)
			b.node.takes = 0
			b.take(2)
			assert.Equal(t, []int64{100, tt.next, tt.next + 100}, b.scheduled())
			assert.Equal(t, tt.missed, b.arc.seen[1].Missed)
			assert.Equal(t, tt.missed, b.ticks.all[1].Missed)
			assert.Zero(t, b.arc.seen[2].Missed, "counted once")
		})
	}
}

func TestTheArcMakesTicksFasterAndGivesThemBack(t *testing.T) {
	b := newBench(1)
	b.arc.asks = map[uint64]int64{2: 10 * ms, 5: 0}
	b.take(7)
	assert.Equal(t, []int64{100, 200, 210, 220, 230, 300, 400}, b.scheduled())
	assert.Equal(t, 10*ms, b.arc.seen[2].Interval)
	assert.Equal(t, 100*ms, b.arc.seen[5].Interval)
}

func TestTheArcCannotMakeTicksSlowerOrTooFast(t *testing.T) {
	b := newBench(1)
	b.arc.asks = map[uint64]int64{1: 500 * ms, 2: 1}
	b.take(4)
	assert.Equal(t, []int64{100, 200, 210, 220}, b.scheduled())
}

func TestDeliveriesKeepTheirPaceWhileTicksAreFast(t *testing.T) {
	b := newBench(1)
	b.arc.asks = map[uint64]int64{1: 10 * ms}
	var delivered []int64
	own := &arc.Sample{}
	for range 25 {
		b.take(1)
		var ok bool
		if own, _, ok = b.out.Take(own); ok {
			delivered = append(delivered, own.Scheduled/ms-1_000_000)
		}
	}
	assert.Equal(t, []int64{100, 200, 300}, delivered)
}

func TestWhatIsCalmIsDeliveredSeldom(t *testing.T) {
	b := newBench(1)
	b.set.EmitInterval = time.Second
	var delivered []int64
	own := &arc.Sample{}
	for range 60 {
		b.take(1)
		switch b.clock.now/ms - 1_000_000 {
		case 2300:
			b.arc.control.Store(arc.Control{Watchful: true})
		case 2500:
			b.arc.control.Store(arc.Control{})
		}
		var ok bool
		if own, _, ok = b.out.Take(own); ok {
			delivered = append(delivered, own.Scheduled/ms-1_000_000)
		}
	}
	assert.Len(t, b.arc.seen, 60, "the arc sees every tick")
	assert.Equal(t, []int64{100, 1000, 2000, 2400, 2500, 3000, 4000, 5000, 6000}, delivered)

	b.set.Observer = nil
	b.take(1)
	own, _, _ = b.out.Take(own)
	b.take(1)
	_, _, ok := b.out.Take(own)
	assert.True(t, ok, "nobody tells what is calm")
}

// The word comes from the tick itself, and the tick is the first to be delivered.
func TestTheTickThatAlarmsIsDelivered(t *testing.T) {
	b := newBench(1)
	b.set.EmitInterval = time.Minute
	b.take(5)
	own, _, _ := b.out.Take(&arc.Sample{})
	b.arc.alarm = 7
	b.take(1)
	_, _, ok := b.out.Take(own)
	require.False(t, ok)
	b.take(1)
	own, _, ok = b.out.Take(own)
	require.True(t, ok)
	assert.Equal(t, uint64(7), own.Sequence)
}

func TestANewerSampleReplacesOneThatWaits(t *testing.T) {
	b := newBench(2)
	b.take(3)
	assert.False(t, b.ticks.all[0].Replaced)
	assert.True(t, b.ticks.all[1].Replaced)
	assert.True(t, b.ticks.all[2].Replaced)

	own := &arc.Sample{}
	got, _, ok := b.out.Take(own)
	require.True(t, ok)
	assert.Equal(t, uint64(3), got.Sequence)
	_, _, ok = b.out.Take(got)
	assert.False(t, ok, "taken once")

	b.take(3)
	assert.False(t, b.ticks.all[3].Replaced)
	assert.Equal(t, uint64(3), got.Sequence, "what is being delivered is not sampled into")
	assert.Equal(t, uint64(3), got.Cgroups.Value(arc.CgroupMemoryUsage, 0))
}

func TestWhatIsNotReadIsAbsentAtEveryTick(t *testing.T) {
	b := newBench(1)
	b.take(5)
	for _, s := range b.arc.seen {
		assert.True(t, math.IsNaN(s.Node[arc.NodeForks]))
		assert.InDelta(t, 5, s.Node[arc.NodeExecs], 0)
	}
}

func TestErrorsOfSourcesAreReportedAndDoNotStopTheArc(t *testing.T) {
	b := newBench(3)
	b.node.err, b.cgroups.err = errors.New("node"), errors.New("cgroups")
	b.take(1)
	assert.Len(t, b.arc.seen, 1)
	assert.EqualError(t, b.ticks.all[0].NodeError, "node")
	assert.EqualError(t, b.ticks.all[0].CgroupsError, "cgroups")
	assert.Equal(t, 3, b.ticks.all[0].Cgroups)
}

func TestWorksWithoutArcAndWithoutCgroups(t *testing.T) {
	b := newBench(1)
	b.set.Observer, b.set.Cgroups = nil, nil
	b.take(3)
	s, _, ok := b.out.Take(&arc.Sample{})
	require.True(t, ok)
	assert.Equal(t, uint64(3), s.Sequence)
	assert.Zero(t, s.Cgroups.Len())
}

func TestRunEndsWhenItIsStopped(t *testing.T) {
	b := newBench(1)
	b.set.Clock = new(SystemClock)
	b.set.Interval, b.interval = 10*time.Second, 10*int64(time.Second)
	b.next = following(b.set.Clock.Now(), b.interval)
	stop, ended := make(chan struct{}), make(chan struct{})
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

// Whatever the interval in force and the instant that was missed, a tick claims
// one that has come, and the last of them.
func TestALateTickClaimsTheLastInstantThatHasCome(t *testing.T) {
	for _, tc := range []struct{ own, interval, next, now, claims int64 }{
		{100, 100, 200, 250, 200}, // not late
		{100, 100, 200, 455, 400},
		{100, 10, 200, 455, 450},
		{250, 100, 250, 460, 400}, // awake
		{250, 100, 250, 510, 500},
		{1000, 30, 1000, 1065, 1050},   // asked to hurry
		{1000, 1000, 1300, 2350, 2000}, // early
	} {
		s := New(Settings{Interval: time.Duration(tc.own * ms), Clock: &fakeClock{now: tc.now * ms}})
		s.interval, s.next = tc.interval*ms, tc.next*ms
		s.skip()
		assert.Equal(t, tc.claims*ms, s.next, "%+v", tc)
		assert.Equal(t, tc.now-tc.next >= tc.interval, s.missed > 0, "%+v", tc)
	}
}

func TestTheSystemClockWaitsForTheInstant(t *testing.T) {
	var clock SystemClock
	stop := make(chan struct{})
	instant := clock.Now() + 3*ms
	require.True(t, clock.WaitUntil(instant, stop))
	assert.GreaterOrEqual(t, clock.Now(), instant)
	require.True(t, clock.WaitUntil(instant, stop), "an instant that has passed is not waited for")
	close(stop)
	assert.False(t, clock.WaitUntil(clock.Now()+int64(time.Hour), stop))
	assert.InDelta(t, time.Now().UnixNano(), clock.WallTime(), float64(time.Minute))
}

func TestTheSystemClockStopsAtOnce(t *testing.T) {
	for name, clock := range map[string]*SystemClock{
		"timer":    {},
		"no timer": withoutTimer(t),
	} {
		t.Run(name, func(t *testing.T) {
			stop, stopped := make(chan struct{}), make(chan bool)
			go func() { stopped <- clock.WaitUntil(clock.Now()+int64(time.Hour), stop) }()
			time.Sleep(20 * time.Millisecond) // most likely it waits by now
			close(stop)
			select {
			case waited := <-stopped:
				assert.False(t, waited)
			case <-time.After(5 * time.Second):
				t.Fatal("the clock did not notice that it was stopped")
			}
			assert.Nil(t, clock.timer, "what was opened is closed")
		})
	}
}

func TestTheSystemClockDoesWithoutATimer(t *testing.T) {
	clock := withoutTimer(t)
	instant := clock.Now() + 3*ms
	require.True(t, clock.WaitUntil(instant, nil))
	assert.GreaterOrEqual(t, clock.Now(), instant)
}

func TestAWaitAllocatesNothing(t *testing.T) {
	var clock SystemClock
	stop := make(chan struct{})
	defer func() { close(stop); clock.WaitUntil(0, stop) }()
	wait := func() { clock.WaitUntil(clock.Now()+int64(100*time.Microsecond), stop) }
	wait() // opens the timer
	assert.Zero(t, testing.AllocsPerRun(100, wait))
}

// withoutTimer is a clock whose timer cannot be waited with.
func withoutTimer(t *testing.T) *SystemClock {
	t.Helper()
	broken, err := newTimer()
	require.NoError(t, err)
	broken.close()
	c := &SystemClock{timer: broken, stopped: make(chan struct{})}
	close(c.stopped)
	return c
}

func TestATickWith1000CgroupsAllocatesNothing(t *testing.T) {
	b := newBench(1000)
	b.arc.seen, b.ticks.keep = nil, false
	own := &arc.Sample{}
	tick := func() {
		b.take(1)
		own, _, _ = b.out.Take(own)
	}
	for range 4 { // every one of the rotating samples has its memory
		tick()
	}
	assert.Zero(t, testing.AllocsPerRun(100, tick))
}

func BenchmarkTick1000Cgroups(b *testing.B) {
	s := newBench(1000)
	s.arc.seen, s.ticks.keep = nil, false
	own := &arc.Sample{}
	s.take(3)
	b.ReportAllocs()
	for b.Loop() {
		s.take(1)
		own, _, _ = s.out.Take(own)
	}
}
