// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/flight"
)

// crowd is a machine with many cgroups, all of which move a little.
type crowd struct {
	n     int
	ticks uint64
	now   int64
	raw   uint64 // points read so far
	// watchful is the arc's word.
	watchful bool
}

func (c *crowd) Read(into *arc.Node) error {
	c.ticks++
	for f := range into {
		into[f] = float64(c.ticks) + float64(f)
	}
	into[arc.NodeMemoryUsed] = 1e9 + 1e6*math.Sin(float64(c.ticks)/40)
	c.raw += uint64(len(into))
	return nil
}

func (c *crowd) Sweep(into *arc.Sweep) error {
	into.Reset()
	for id := uint64(1); id <= uint64(c.n); id++ {
		row := into.Append(id, 0)
		for i, f := range []arc.CgroupField{
			arc.CgroupMemoryUsage, arc.CgroupMemoryHigh, arc.CgroupMemoryMax, arc.CgroupCPUTime, arc.CgroupCPUThrottledTime, arc.CgroupPids,
			arc.CgroupPidsMax, arc.CgroupPressureCPUSome, arc.CgroupPressureMemorySome, arc.CgroupPressureIOSome,
		} {
			into.Set(f, row, uint64(i+1)<<20+c.ticks*id)
			c.raw++
		}
	}
	return nil
}

func (c *crowd) Path(id uint64) (string, error) {
	return fmt.Sprintf("/system.slice/%d.service", id), nil
}

func (c *crowd) Walk(visit func(id, parent uint64, path string) error) error {
	for id := uint64(1); id <= uint64(c.n); id++ {
		path, _ := c.Path(id)
		if err := visit(id, 0, path); err != nil {
			return err
		}
	}
	return nil
}
func (c *crowd) OpenPath(path string) (*cgroupfs.Dir, error) { return nil, cgroupfs.ErrGone }
func (c *crowd) Close() error                                { return nil }

func (c *crowd) Now() int64                            { return c.now }
func (c *crowd) WallTime() int64                       { return booted + c.now }
func (c *crowd) WaitUntil(int64, <-chan struct{}) bool { return true }
func (c *crowd) Observe(*arc.Sample, *arc.Judgement)   {}
func (c *crowd) Control() arc.Control                  { return arc.Control{Watchful: c.watchful} }
func (c *crowd) Record(*sampler.Tick)                  {}

// film runs a sampler and its delivery by hand, tick by tick.
type film struct {
	*crowd
	t       *testing.T
	sampler *sampler.Sampler
	handed  *sampler.Handover
	deliver *delivery
	sample  *arc.Sample

	shipped  uint64         // points accepted
	nodes    map[uint64]int // how often each tick's node was accepted
	extremes int            // points of least and greatest values
	cgroups  int            // resources that are cgroups
	fail     error
}

func newFilm(t *testing.T, cgroups int, change func(*Config)) *film {
	t.Helper()
	f := &film{crowd: &crowd{n: cgroups, now: opened}, t: t, handed: sampler.NewHandover(), sample: &arc.Sample{}, nodes: map[uint64]int{}}
	r := newFake(t, &fakeKernel{}, consume(func(_ context.Context, md pmetric.Metrics) error { return f.accept(md) }), func(c *Config, _ *receiver.Settings) {
		d := createDefaultConfig().(*Config)
		c.Interval, c.EmitInterval = d.Interval, d.EmitInterval
		if change != nil {
			change(c)
		}
	})
	f.deliver = r.newDelivery(&sources.Sources{Names: f.crowd}, f.handed)
	set := r.cfg.FlightRecorder
	f.deliver.flight = flight.New(flight.Settings{Before: set.Before, After: set.After, Interval: r.cfg.Interval})
	f.deliver.watchful = func() bool { return f.watchful }
	f.sampler = sampler.New(sampler.Settings{
		Source: "ebpf", Interval: r.cfg.Interval, EmitInterval: r.cfg.EmitInterval, Record: true,
		Node: f.crowd, Cgroups: f.crowd, Observer: f.crowd, Clock: f.crowd, Handover: f.handed, Recorder: f.crowd,
	})
	return f
}

func (f *film) accept(md pmetric.Metrics) error {
	if f.fail != nil {
		return f.fail
	}
	f.shipped += uint64(md.DataPointCount())
	for _, rm := range md.ResourceMetrics().All() {
		sm := rm.ScopeMetrics().At(0)
		if sequence, is := sm.Scope().Attributes().Get(attributeSequence); is {
			f.nodes[uint64(sequence.Int())]++
		} else {
			f.cgroups++
		}
		for _, m := range sm.Metrics().All() {
			if strings.HasSuffix(m.Name(), suffixMin) || strings.HasSuffix(m.Name(), suffixMax) {
				f.extremes++
			}
		}
	}
	return nil
}

// run takes the ticks of so long.
func (f *film) run(d time.Duration) {
	for end := f.now + int64(d); f.now < end; {
		f.now += 1e8
		f.sampler.Tick()
		var due, waiting bool
		if f.sample, due, waiting = f.handed.Take(f.sample); waiting {
			f.deliver.flight.Add(f.sample, f.watchful)
			if due {
				f.deliver.deliver(f.t.Context(), f.sample)
			}
		}
		if f.ticks%2 == 0 { // as the timer would
			f.deliver.catchUp(f.t.Context())
		}
	}
}

// Of 72 hours of calm at most a hundredth of what is read is shipped, and around an
// anomaly in their middle all of it.
func TestThreeDaysOfCalmAreThinAndTheAnomalyIsNot(t *testing.T) {
	for _, cgroups := range []int{5, 20, 200} {
		hours := 72
		if testing.Short() || cgroups != 20 {
			hours = 6
		}
		t.Run(fmt.Sprintf("%d cgroups", cgroups), func(t *testing.T) { threeDays(t, hours, cgroups) })
	}
}

func threeDays(t *testing.T, hours, cgroups int) {
	t.Helper()
	f := newFilm(t, cgroups, nil)
	f.run(time.Duration(hours) * time.Hour / 2)
	calm, raw := f.shipped, f.raw
	first := f.ticks + 1
	f.watchful = true
	f.run(40 * time.Second)
	f.watchful = false
	last := f.ticks
	f.run(time.Minute)
	around := f.shipped - calm
	during := f.raw - raw
	f.run(time.Duration(hours)*time.Hour/2 - 100*time.Second)

	share := float64(f.shipped-around) / float64(f.raw-during)
	t.Logf("%d ticks, %d cgroups: %d of %d points shipped in calm: %.2f %%; around the anomaly %d of %d", f.ticks, cgroups, f.shipped-around, f.raw-during, 100*share, around, during)
	assert.Less(t, share, 0.01)
	assert.Positive(t, f.extremes)
	assert.Greater(t, f.cgroups, 1)
	for n := first - 300; n <= last+300; n++ {
		require.Equal(t, 1, f.nodes[n], "tick %d, %d to %d are those of the anomaly", n, first, last)
	}
	assert.Equal(t, 0, f.nodes[first-301]+f.nodes[first-302]+f.nodes[first-303], "before it is calm")
	assert.Zero(t, f.deliver.flight.Pending())
}

func TestWhatIsNotAcceptedAroundAnAnomalyIsDeliveredLater(t *testing.T) {
	f := newFilm(t, 20, nil)
	f.run(2 * time.Minute)
	first := f.ticks + 1
	f.watchful = true
	f.fail = errors.New("queue is full")
	f.run(20 * time.Second)
	f.watchful = false
	f.run(10 * time.Second)
	assert.Zero(t, f.nodes[first])
	f.fail = nil
	f.run(time.Minute)
	for n := first - 300; n < first+500; n++ {
		require.GreaterOrEqual(t, f.nodes[n], 1, "tick %d", n)
	}
	assert.Zero(t, f.deliver.flight.Pending())

	f.watchful, f.fail = true, consumererror.NewPermanent(errors.New("too large"))
	f.run(time.Minute)
	assert.Less(t, f.deliver.flight.Pending(), 10, "what never will be is not tried for ever")
}

func TestTheExtremesOfCalmAreThoseOfTheTimeBetween(t *testing.T) {
	f := newFilm(t, 1, nil)
	f.run(time.Minute)
	least, greatest := math.Inf(1), math.Inf(-1)
	var seen pmetric.Metrics
	f.deliver.next = consume(func(_ context.Context, md pmetric.Metrics) error {
		seen = pmetric.NewMetrics()
		md.CopyTo(seen)
		return nil
	})
	for f.now%int64(10*time.Second) != 0 {
		f.run(100 * time.Millisecond)
	}
	for range 100 {
		f.run(100 * time.Millisecond)
		v := 1e9 + 1e6*math.Sin(float64(f.ticks)/40)
		least, greatest = min(least, v), max(greatest, v)
	}
	got := map[string]float64{}
	for _, m := range seen.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		if m.Type() == pmetric.MetricTypeGauge {
			p := m.Gauge().DataPoints().At(0)
			got[m.Name()] = float64(p.IntValue()) + p.DoubleValue()
		}
	}
	name := arc.NodeFields[arc.NodeMemoryUsed].Name
	assert.InDelta(t, least, got[name+suffixMin], 1)
	assert.InDelta(t, greatest, got[name+suffixMax], 1)
	assert.NotContains(t, got, arc.NodeFields[arc.NodeMemoryTotal].Name+suffixMin)
	assert.NotContains(t, got, arc.NodeFields[arc.NodeForks].Name+suffixMin)

	f.watchful = true
	f.run(time.Second)
	for _, m := range seen.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
		assert.False(t, strings.HasSuffix(m.Name(), suffixMin), "every tick is its own extreme")
	}
}

// As it runs: a consumer that hangs when an anomaly begins gets all of it once it is
// back, though ticks go on meanwhile.
func TestAConsumerThatHangsAtTheWorstTimeMissesNothing(t *testing.T) {
	var (
		mu     sync.Mutex
		nodes  = map[uint64]int{}
		hang   = make(chan struct{})
		hangs  atomic.Bool
		caught atomic.Bool
	)
	next := consume(func(_ context.Context, md pmetric.Metrics) error {
		if hangs.Load() {
			caught.Store(true)
			<-hang
		}
		mu.Lock()
		defer mu.Unlock()
		for _, rm := range md.ResourceMetrics().All() {
			if sequence, is := rm.ScopeMetrics().At(0).Scope().Attributes().Get(attributeSequence); is {
				nodes[uint64(sequence.Int())]++
			}
		}
		return nil
	})
	m := &meeting{}
	r := newFake(t, &fakeKernel{}, next, func(cfg *Config, _ *receiver.Settings) {
		cfg.EmitInterval, cfg.FlightRecorder.Before, cfg.FlightRecorder.After = time.Second, 500*time.Millisecond, time.Second
	})
	require.NoError(t, r.Start(t.Context(), host{component.MustNewID("reflex"): m}))
	defer func() { require.NoError(t, r.Shutdown(context.Background())) }()
	seen := func(n uint64) func() bool { return func() bool { return m.observed.Load() >= n } }
	require.Eventually(t, seen(200), deadline, time.Millisecond)
	first := m.observed.Load() + 2
	hangs.Store(true)
	m.control.Store(arc.Control{Watchful: true})
	require.Eventually(t, caught.Load, deadline, time.Millisecond)
	require.Eventually(t, seen(first+60), deadline, time.Millisecond, "ticks go on")
	hangs.Store(false)
	close(hang)
	last := m.observed.Load() - 2
	whole := func() bool {
		mu.Lock()
		defer mu.Unlock()
		for n := first - 45; n <= last; n++ {
			if nodes[n] == 0 {
				return false
			}
		}
		return true
	}
	require.Eventually(t, whole, deadline, time.Millisecond, "every tick since half a second before")
	mu.Lock()
	defer mu.Unlock()
	thin := 0
	for n := uint64(100); n < first-60; n++ {
		thin += nodes[n]
	}
	assert.LessOrEqual(t, thin, 2, "and next to none of the calm before")
}
