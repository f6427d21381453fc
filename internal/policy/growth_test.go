// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// tracker is a growth of memory with a table of its own.
type tracker struct{ *growth }

func newTracker() *tracker { return &tracker{newGrowth(newTable(), arc.CgroupMemoryUsage)} }

func (g *tracker) observe(now int64, sweep *arc.Sweep) {
	g.table.observe(now, sweep)
	g.follow(now, sweep)
}

// feed runs one cgroup's usage through a tracker at an interval.
func feed(g *tracker, interval, length time.Duration, usage func(t time.Duration) float64) {
	var s arc.Sweep
	for t := time.Duration(0); t <= length; t += interval {
		s.Reset()
		s.Append(1, 0)
		i := s.Append(7, 1)
		s.Set(arc.CgroupMemoryUsage, i, uint64(usage(t)))
		g.observe(int64(1e12)+int64(t), &s)
	}
}

func TestGrowthRate(t *testing.T) {
	for name, tt := range map[string]struct {
		usage       func(t time.Duration) float64
		least, most float64
	}{
		"steady":           {func(t time.Duration) float64 { return gb + 50*mb*t.Seconds() }, 49.9 * mb, 50.1 * mb},
		"flat":             {func(time.Duration) float64 { return gb }, 0, 0},
		"shrinking":        {func(t time.Duration) float64 { return gb - 50*mb*t.Seconds() }, 0, 0},
		"one step":         {func(t time.Duration) float64 { return gb + 200*mb*step(t, 2700*time.Millisecond) }, 0, 0},
		"bursts a second":  {func(t time.Duration) float64 { return gb + 40*mb*float64(int(t.Seconds())) }, 20 * mb, 60 * mb},
		"sawtooth of a gc": {func(t time.Duration) float64 { return gb + 100*mb*(t.Seconds()*4-float64(int(t.Seconds()*4))) }, 0, 400 * mb},
	} {
		t.Run(name, func(t *testing.T) {
			for _, interval := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond} {
				g := newTracker()
				feed(g, interval, 3*time.Second, tt.usage)
				rate := g.rate(g.slots[7])
				assert.GreaterOrEqual(t, rate, tt.least, interval)
				assert.LessOrEqual(t, rate, tt.most, interval)
			}
		})
	}
}

func step(t, at time.Duration) float64 {
	if t < at {
		return 0
	}
	return 1
}

func TestGrowthIsAttributedToTheDeepest(t *testing.T) {
	g := newTracker()
	var s arc.Sweep
	for i := range 20 {
		s.Reset()
		at := float64(i) * 0.1
		row := func(id, parent uint64, usage float64) {
			s.Set(arc.CgroupMemoryUsage, s.Append(id, parent), uint64(usage))
		}
		row(1, 0, 4*gb+101*mb*at)
		row(2, 1, 3*gb+101*mb*at)
		row(3, 2, gb+100*mb*at)
		row(4, 3, gb/2+97*mb*at)
		row(5, 2, gb+mb*at)
		g.observe(int64(1e12)+int64(i)*1e8, &s)
	}
	got := g.growers(g.growth, 256<<10, nil)
	require.NotEmpty(t, got)
	assert.Equal(t, uint64(4), g.ids[got[0].slot])
	assert.InDelta(t, 97*mb, got[0].own, mb)
	for _, c := range got[1:] {
		assert.Less(t, c.own, 5.0*mb, "an ancestor's growth is its child's: %d", g.ids[c.slot])
	}
}

func TestGrowthForgetsCgroupsThatLeft(t *testing.T) {
	g := newTracker()
	var s arc.Sweep
	for i := range 3000 {
		s.Reset()
		s.Append(1, 0)
		for k := range 10 {
			s.Set(arc.CgroupMemoryUsage, s.Append(uint64(1000+i/10*10+k), 1), uint64(k))
		}
		g.observe(int64(1e12)+int64(i)*1e8, &s)
	}
	assert.Less(t, len(g.slots), 200)
	assert.Less(t, len(g.ids), 1000, "slots are used again")
}

func TestGrowthOfAReusedSlotStartsFresh(t *testing.T) {
	g := newTracker()
	feed(g, 100*time.Millisecond, 3*time.Second, func(t time.Duration) float64 { return gb * t.Seconds() })
	slot := g.slots[7]
	var s arc.Sweep
	s.Append(1, 0)
	for i := range 60 {
		g.observe(int64(1e12)+3e9+int64(i+1)*1e8, &s)
	}
	require.NotContains(t, g.slots, uint64(7))
	i := s.Append(8, 1)
	s.Set(arc.CgroupMemoryUsage, i, gb)
	g.observe(int64(1e12)+9.2e9, &s)
	require.Equal(t, slot, g.slots[8])
	assert.Zero(t, g.rate(slot))
}

func TestSafelist(t *testing.T) {
	s, err := NewSafelist([]string{"sshd.service", "/kube*/infra", "/exact/*/one"}, "/a/b/collector")
	require.NoError(t, err)
	for path, want := range map[string]bool{
		"/": true, "": true, "/system.slice": true, "/init.scope": true,
		"/system.slice/sshd.service": true, "/system.slice/sshd.service/below": true, "/system.slice/sshd.service2": false,
		"/kubepods/infra": true, "/kubepods/infra/x/y": true, "/kubepods/other": false,
		"/exact/1/one": true, "/exact/1/two": false,
		"/a": true, "/a/b": true, "/a/b/collector": true, "/a/b/collector/x": true, "/a/b/neighbour": false, "/ab": false,
		"/payment.service": false,
	} {
		by, got := s.Protects(path)
		assert.Equal(t, want, got, path)
		assert.Equal(t, want, by != "", path)
	}
	_, err = NewSafelist([]string{"["}, "")
	require.Error(t, err)
	_, err = NewSafelist([]string{""}, "")
	require.Error(t, err)
}

func TestStallIsMeasuredOverASecond(t *testing.T) {
	var w stall
	got := 0.0
	for i := range 30 {
		got = w.observe(int64(1e12)+int64(i)*1e8, float64(i)*0.03)
	}
	assert.InDelta(t, 0.3, got, 0.01)
	assert.Zero(t, w.observe(1e12+31e8, 0), "a counter that restarts")
}

// A service that has just started may grow; that excuses nobody else.
func TestTheGrowthOfAYoungOneHidesNobodysLeak(t *testing.T) {
	build := &group{id: 12, path: "/build.scope", limit: 600 * mb, born: 1e12 + 9e9, leak: from(10*time.Second, 60*mb)}
	w := newWorld(t, DefaultConfig(), payment(), build)
	w.anomalous = after(10 * time.Second)
	w.runUntil(11*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	assert.Equal(t, uint64(10), w.orders[0].Cgroup, w.story())
	assert.Equal(t, arc.Unlimited, build.ceiling)
}

// Who meets a limit of its own is alone to blame for that, whoever else does so.
func TestEachIsToBlameForItsOwnLimit(t *testing.T) {
	a := &group{id: 10, path: "/a.service", limit: 2 * gb, anon: gb, leak: from(10*time.Second, 50*mb)}
	b := &group{id: 11, path: "/b.service", limit: 2 * gb, anon: gb, leak: from(10*time.Second, 50*mb)}
	w := newWorld(t, DefaultConfig(), a, b)
	w.anomalous = after(10 * time.Second)
	w.run(12 * time.Second)
	for _, g := range []*group{a, b} {
		assert.NotEqual(t, arc.Unlimited, g.ceiling, w.story())
	}
}

func TestPageCacheIsRoom(t *testing.T) {
	g := &group{id: 10, path: "/a.service", limit: gb, anon: 200 * mb, cache: 700 * mb, leak: from(0, 10*mb)}
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(0)
	w.run(9 * time.Second) // 10 MB below its limit, but for what it could do without
	assert.Empty(t, w.orders, w.story())
	require.NotEmpty(t, w.declined(CauseNoHarm), w.story())
}

func TestTheCeilingSpendsWhatIsLeftAboveUsage(t *testing.T) {
	g := &group{id: 10, path: "/a.service", limit: 2 * gb, anon: 500 * mb, cache: 500 * mb, leak: from(10*time.Second, 50*mb)}
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = after(10 * time.Second)
	w.runUntil(12*time.Second, func(d *Decision) bool { return d.Level == LevelContainment })
	l := w.policy.leases[0]
	assert.InDelta(t, 500*mb, l.harm.Available-l.headroom, 20*mb, "harm counts page cache as room")
	assert.Less(t, l.headroom, uint64(gb))
}

// The later the harm, the longer must growth have lasted.
func TestTheMoreTimeThereIsTheMoreEvidenceIsAskedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		room    float64 // s of growth
		lasts   time.Duration
		ordered bool
	}{
		"a minute of room, and growth for 8 s":    {54, 8 * time.Second, false},
		"a minute of room, and growth for good":   {54, hours, true},
		"20 s of room, and growth for 1 s":        {20, time.Second, true},
		"half a minute of room, and growth for 1": {30, time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := &group{id: 10, path: "/a.service", anon: 300 * mb, limit: uint64((300 + 5*tt.room) * mb)}
			g.leak = between(30*time.Second, 30*time.Second+min(tt.lasts, time.Hour), 5*mb)
			w := newWorld(t, DefaultConfig(), g)
			w.anomalous = after(30 * time.Second)
			w.run(55 * time.Second)
			assert.Equal(t, tt.ordered, len(w.orders) > 0, w.story())
		})
	}
}

func TestWhatIsContainedDoesNotPressByItsPageCache(t *testing.T) {
	g := payment()
	g.leak = between(10*time.Second, 15*time.Second, 50*mb)
	g.read = from(20*time.Second, 20*mb)
	w := newWorld(t, DefaultConfig(), g)
	w.anomalous = func(at time.Duration) bool { return at > 10*time.Second && at < 16*time.Second }
	w.run(80 * time.Second)
	require.NotEmpty(t, w.orders, w.story())
	assert.Equal(t, arc.Unlimited, g.ceiling, "released: %s", w.story())
}

// A stall is harm to others than the one who causes it: who is at a limit of his own
// stalls by himself.
func TestWhoStallsAloneHarmsNobody(t *testing.T) {
	never := func(time.Duration) float64 { return 0 }
	for name, tt := range map[string]struct {
		others  func(time.Duration) float64
		ordered bool
	}{
		"alone":               {never, false},
		"as others do":        {from(20*time.Second, 0.4), true},
		"as others always do": {from(0, 0.4), false},
		"who knows":           {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			grower := &group{id: 10, path: "/grower.service", anon: 300 * mb, leak: from(20*time.Second, 5*mb), plant: plant{stalls: from(20*time.Second, 0.5)}}
			other := service()
			if other.stalls = tt.others; tt.others == nil {
				grower.stalls = nil // the kernel does not count by cgroup
			}
			w := newWorld(t, DefaultConfig(), grower, other)
			w.stall = from(20*time.Second, 0.5)
			w.anomalous = after(20 * time.Second)
			w.run(30 * time.Second)
			assert.Equal(t, tt.ordered, len(w.orders) > 0, w.story())
			if !tt.ordered {
				declined := w.declined(CauseAlone)
				require.NotEmpty(t, declined, w.story())
				assert.Contains(t, declined[0].Reason, "its tasks stall on memory: nobody else's do")
			}
		})
	}
}
