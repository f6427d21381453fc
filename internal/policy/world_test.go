// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	mb = 1_000_000
	gb = 1_000_000_000
)

// group is one cgroup of a simulated node. Its usage is its own plus that of
// its children.
type group struct {
	id, parent uint64
	path       string
	limit      uint64
	high       uint64 // its own memory.high before anybody acts
	anon       float64
	cache      float64
	born       int64
	gone       bool
	empty      bool
	// leak and read are bytes a second of anon memory and page cache.
	leak func(t time.Duration) float64
	read func(t time.Duration) float64
	swap func(t time.Duration) float64 // bytes that are in swap

	porous  bool   // its ceiling does not hold it
	ceiling uint64 // what the guard holds; Unlimited for nothing
	tenant  *tenant
	plant
}

// world is a node, an engine and a guard, all simulated, with a policy between.
type world struct {
	t      testing.TB
	policy *Policy
	groups []*group
	sample arc.Sample
	judge  arc.Judgement

	total, free float64
	psi         float64
	stall       func(t time.Duration) float64
	oom         float64
	// anomalous says what the engine thinks at a decision.
	anomalous func(t time.Duration) bool
	// late is how long after it was due a tick is taken, in ns.
	late     func() int64
	velocity float64
	refuse   func(o arc.Order) (arc.Outcome, bool)

	machine
	start, now, decided int64
	orders              []arc.Order
	events              []Event
	levels              []int
	changed             []time.Duration // when, by index of levels
	inspected           int
	blind               bool
	answers             []answer
	mostOrders          int
}

func newWorld(tb testing.TB, cfg Config, groups ...*group) *world {
	tb.Helper()
	safelist, err := NewSafelist([]string{"/system.slice/sshd.service", "kubelet.service"}, "/reflex.slice/collector.service")
	require.NoError(tb, err)
	w := &world{t: tb, policy: New(cfg, safelist), total: 16 * gb, free: 12 * gb, start: 1e12, now: 1e12, velocity: 1}
	w.decided = w.now
	w.sample.Source = "test"
	w.groups = append([]*group{{id: 1, path: "/", born: 1}}, groups...)
	for _, g := range w.groups {
		g.ceiling = arc.Unlimited
		g.plant.reset()
		if g.limit == 0 {
			g.limit = arc.Unlimited
		}
		if g.high == 0 {
			g.high = arc.Unlimited
		}
		if g.parent == 0 && g.id != 1 {
			g.parent = 1
		}
	}
	for i := range w.sample.Node {
		w.sample.Node[i] = math.NaN()
	}
	w.anomalous = func(time.Duration) bool { return false }
	return w
}

func (w *world) since() time.Duration { return time.Duration(w.now - w.start) }

func (w *world) group(id uint64) *group {
	for _, g := range w.groups {
		if g.id == id {
			return g
		}
	}
	return nil
}

func (w *world) usage(g *group) float64 {
	u := g.anon + g.cache
	for _, c := range w.groups {
		if c.parent == g.id && !c.gone {
			u += w.usage(c)
		}
	}
	return u
}

// Inspect implements Inspector.
func (w *world) Inspect(id uint64, _ Aspect, into *Inspection) error {
	w.inspected++
	g := w.group(id)
	if g == nil || g.gone || w.blind {
		return errors.New("gone")
	}
	anon := g.anon
	for _, c := range w.groups {
		if c.parent == id && !c.gone {
			anon += c.anon
		}
	}
	*into = Inspection{CPUTime: uint64(g.ran * 1e9), ReadBytes: uint64(g.readBytes), WriteBytes: uint64(g.writtenBytes), Device: 8 << 32, Path: g.path, Name: g.path, Anon: uint64(anon), File: uint64(g.cache), Populated: !g.empty, Age: time.Duration(w.now - g.born)}
	if n := g.tenant; n != nil && n.effort > 0 {
		into.UserTime = uint64(n.ran * 1e9)
	}
	return nil
}

// grow moves time on by dt.
func (w *world) grow(dt time.Duration) {
	w.now += int64(dt)
	s := dt.Seconds()
	for _, g := range w.groups {
		if g.gone {
			continue
		}
		if g.leak != nil {
			want := g.leak(w.since()) * s
			if want > 0 && g.ceiling < arc.Unlimited && !g.porous {
				// A task over memory.high is throttled to nearly nothing.
				want = min(want, max(float64(g.ceiling)-w.usage(g), 0)+0.02*mb*s)
			}
			g.anon = max(g.anon+want, 0)
			w.free -= want
		}
		if g.read != nil {
			g.cache = max(g.cache+g.read(w.since())*s, 0)
		}
		if u := w.usage(g); u >= float64(g.limit) {
			if g.cache > 0 {
				g.cache = max(g.cache-(u-float64(g.limit)), 0)
			} else {
				g.gone = true // the OOM killer came
				w.free += g.anon
				w.oom++
			}
		}
	}
	w.work(dt)
	for _, g := range w.groups {
		if g.tenant != nil && !g.gone {
			w.live(g, dt)
		}
	}
	if w.stall != nil {
		w.psi += w.stall(w.since()) * s
	}
}

// tick is one sample.
func (w *world) tick() *Decision {
	interval := w.policy.decision.Control.Interval
	if interval == 0 {
		interval = 100e6
	}
	w.grow(time.Duration(interval))
	return w.step(interval)
}

func (w *world) step(interval int64) *Decision {
	s := &w.sample
	s.Sequence++
	s.Scheduled, s.Taken, s.Interval = w.now, w.now, interval
	if w.late != nil {
		s.Taken += w.late()
	}
	s.Node[arc.NodeMemoryTotal], s.Node[arc.NodeMemoryAvailable] = w.total, max(w.free, 0)
	s.Node[arc.NodePressureMemorySome], s.Node[arc.NodeOOMKills] = w.psi, w.oom
	s.Cgroups.Reset()
	for _, g := range w.groups {
		if g.gone {
			continue
		}
		i := s.Cgroups.Append(g.id, g.parent)
		s.Cgroups.Set(arc.CgroupMemoryUsage, i, uint64(w.usage(g)))
		if g.swap != nil {
			s.Cgroups.Set(arc.CgroupMemorySwap, i, uint64(g.swap(w.since())))
		}
		s.Cgroups.Set(arc.CgroupMemoryMax, i, g.limit)
		s.Cgroups.Set(arc.CgroupMemoryHigh, i, min(g.high, g.ceiling))
		w.show(g, i)
	}
	w.showNode()
	j := &w.judge
	*j = arc.Judgement{Sequence: s.Sequence, Ready: true, Limit: 5, Score: 1, Velocity: w.velocity}
	if w.now-w.decided >= 100e6 {
		w.decided = w.now
		j.Fresh, j.Decided = true, w.now
		if j.Anomalous = w.anomalous(w.since()); j.Anomalous {
			j.Score = 50
		}
	}
	for _, a := range w.answers {
		w.policy.Answer(a.order, a.outcome)
	}
	w.answers = w.answers[:0]
	before := len(w.policy.leases)
	level := w.policy.level
	d := w.policy.Step(s, j, w)
	require.LessOrEqual(w.t, abs(d.Level-level), 1, "one level a step")
	require.LessOrEqual(w.t, len(w.policy.leases)-before, 1, "one new lease a step")
	w.mostOrders = max(w.mostOrders, len(d.Orders))
	for _, o := range d.Orders {
		w.carryOut(o)
	}
	w.orders = append(w.orders, d.Orders...)
	w.events = append(w.events, d.Events...)
	if d.Changed {
		w.levels, w.changed = append(w.levels, d.Level), append(w.changed, w.since())
	}
	return d
}

// carryOut is the guard.
func (w *world) carryOut(o arc.Order) {
	if o.Action == arc.ActionShield {
		require.Zero(w.t, o.Cgroup)
		require.NotZero(w.t, o.Interface)
	} else {
		require.NotZero(w.t, o.Cgroup)
		require.Zero(w.t, o.Interface)
	}
	out := arc.Outcome{Verdict: arc.VerdictHeld, Value: o.Parameter, Written: w.now + 1000, Deadline: w.now + o.TTL, Original: arc.Unlimited}
	g := w.group(o.Cgroup)
	if w.refuse != nil {
		if bad, yes := w.refuse(o); yes {
			w.answers = append(w.answers, answer{o, bad})
			return
		}
	}
	if w.lacks[o.Action] {
		w.answers = append(w.answers, answer{o, arc.Outcome{Verdict: arc.VerdictRefused, Cause: fmt.Sprintf("the guard has no action %q", o.Action)}})
		return
	}
	switch {
	case o.Action != arc.ActionShield && (g == nil || g.gone):
		out = arc.Outcome{Verdict: arc.VerdictReleased, Cause: "gone"}
	case o.Verb == arc.Release:
		out.Verdict = arc.VerdictReleased
		if o.Observe {
			out.Verdict = arc.VerdictObserved
		}
		w.turn(g, o.Action, arc.Unlimited)
	case o.Observe:
		out.Verdict = arc.VerdictObserved
	default:
		if w.turn(g, o.Action, o.Parameter) == arc.Unlimited {
			out.Verdict = arc.VerdictGranted
		}
	}
	w.answers = append(w.answers, answer{o, out})
}

// run ticks until the world is so old.
func (w *world) run(until time.Duration) {
	for w.since() < until {
		w.tick()
	}
}

// runUntil ticks until a condition holds and reports when.
func (w *world) runUntil(most time.Duration, cond func(d *Decision) bool) time.Duration {
	for w.since() < most {
		if cond(w.tick()) {
			return w.since()
		}
	}
	require.Fail(w.t, "never happened", "within %s; events: %s", most, w.story())
	return 0
}

func (w *world) of(kind EventKind) []Event {
	var out []Event
	for _, e := range w.events {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

func (w *world) declined(c Cause) []Event {
	var out []Event
	for _, e := range w.of(Declined) {
		if e.Cause == c {
			out = append(out, e)
		}
	}
	return out
}

func (w *world) story() string {
	var s strings.Builder
	for _, e := range w.events {
		fmt.Fprintf(&s, "\n  %s level %d: %s", e.Kind, e.Level, e.Reason)
	}
	return s.String()
}

func abs(i int) int { return max(i, -i) }

// from is a rate that begins at a time.
func from(at time.Duration, rate float64) func(time.Duration) float64 {
	return func(t time.Duration) float64 {
		if t < at {
			return 0
		}
		return rate
	}
}

func between(at, end time.Duration, rate float64) func(time.Duration) float64 {
	return func(t time.Duration) float64 {
		if t < at || t >= end {
			return 0
		}
		return rate
	}
}

func after(at time.Duration) func(time.Duration) bool {
	return func(t time.Duration) bool { return t >= at }
}

// payment is the service of the 2am scenario: 61 % of a 2 GiB limit, leaking
// 50 MB/s from ten seconds on.
func payment() *group {
	return &group{id: 10, path: "/system.slice/payment.service", limit: 2 << 30, anon: 0.61 * (2 << 30), leak: from(10*time.Second, 50*mb)}
}

func neighbour() *group {
	return &group{id: 11, path: "/system.slice/neighbour.service", anon: 300 * mb}
}
