// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otelcol-reflex/reflex/extension/reflexextension/internal/metadata"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

const mb = 1_000_000

// alarm is an engine that decides every 100 ms and alarms when told to.
type alarm struct {
	on      atomic.Bool
	decided int64
	explain func(*arc.Judgement) // nil: one dimension
}

func (a *alarm) Judge(s *arc.Sample, c arc.Control, j *arc.Judgement) {
	*j = arc.Judgement{Sequence: s.Sequence, Ready: true, Score: 1, Limit: 5, Velocity: 1, Frozen: c.Frozen(s.Taken)}
	if s.Taken-a.decided >= 1e8 {
		a.decided, j.Fresh, j.Decided = s.Taken, true, s.Taken
		if a.on.Load() {
			j.Anomalous, j.Score = true, 60
			j.Contributions[0] = arc.Contribution{Dimension: "system.memory.used", Share: 3000, Value: math.NaN()}
			j.NumContributions = 1
		}
	}
	if a.explain != nil && a.on.Load() {
		a.explain(j)
	}
}

// wire is a link to a guard that a test controls.
type wire struct {
	mu      sync.Mutex
	orders  []arc.Order
	held    map[uint64]bool
	err     error
	judged  []guard.NetworkCount
	block   chan struct{} // not nil: Act waits for it
	entered chan struct{}
	closed  atomic.Bool
}

func newWire() *wire { return &wire{held: map[uint64]bool{}, entered: make(chan struct{}, 100)} }

func (w *wire) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *wire) got() []arc.Order {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]arc.Order(nil), w.orders...)
}

func (w *wire) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	if w.block != nil {
		w.entered <- struct{}{}
		select {
		case <-w.block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	w.orders = append(w.orders, o)
	*out = arc.Outcome{Original: arc.Unlimited, Value: o.Parameter, Written: o.Scheduled + 1000, Deadline: o.Scheduled + o.TTL}
	switch {
	case o.Observe:
		out.Verdict, out.Written = arc.VerdictObserved, 0
	case o.Verb == arc.Release:
		out.Verdict = arc.VerdictReleased
		delete(w.held, o.Cgroup)
	case w.held[o.Cgroup]:
		out.Verdict = arc.VerdictHeld
	default:
		out.Verdict = arc.VerdictGranted
		w.held[o.Cgroup] = true
	}
	return nil
}

func (w *wire) Reach(context.Context) ([]guard.NetworkCount, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.judged, w.err
}
func (w *wire) Missing() []need { return nil }
func (w *wire) Close() error    { w.closed.Store(true); return nil }

// watcher is a host that keeps the statuses reported to it.
type watcher struct {
	mu     sync.Mutex
	events []*componentstatus.Event
}

func (h *watcher) GetExtensions() map[component.ID]component.Component { return nil }

func (h *watcher) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *watcher) last() componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) == 0 {
		return componentstatus.StatusNone
	}
	return h.events[len(h.events)-1].Status()
}

// bench is an extension with a fake guard, a fake cgroup tree and a sampler
// whose time the test moves.
type bench struct {
	t     testing.TB
	r     *reflex
	wire  *wire
	alarm *alarm
	host  *watcher
	now   atomic.Int64

	sample arc.Sample
	judged arc.Judgement
	dir    string
	leaker uint64
	usage  uint64
	rate   float64
	limit  uint64
	slow   time.Duration // the longest Observe, in real time
}

// newBench makes an extension that has not started. Its guard is b.wire unless
// the configuration says none.
func newBench(tb testing.TB, change func(*Config)) *bench {
	tb.Helper()
	b := &bench{t: tb, wire: newWire(), alarm: &alarm{}, host: &watcher{}, dir: tb.TempDir(), usage: 1300 * mb, limit: 2 << 30}
	b.now.Store(1e12)
	cfg := createDefaultConfig().(*Config)
	cfg.Status.Endpoint = "127.0.0.1:0"
	cfg.Operator.Socket = ""
	cfg.CgroupRoot = b.dir
	if change != nil {
		change(cfg)
	}
	require.NoError(tb, cfg.Validate())
	b.leaker = b.makeCgroup("payment.service")
	r, err := newReflex(extensiontest.NewNopSettings(metadata.Type), cfg)
	require.NoError(tb, err)
	b.r = r
	r.clock = b.now.Load
	if cfg.Guard != guardNone {
		r.open = func(*reflex) (link, error) { return b.wire, nil }
	}
	for i := range b.sample.Node {
		b.sample.Node[i] = math.NaN()
	}
	b.sample.Source = "ebpf"
	tb.Cleanup(func() { require.NoError(tb, r.Shutdown(context.Background())) })
	return b
}

func (b *bench) makeCgroup(name string) uint64 {
	dir := filepath.Join(b.dir, name)
	require.NoError(b.t, os.Mkdir(dir, 0o755))
	b.write(name, "cgroup.events", "populated 1\nfrozen 0\n")
	b.write(name, "cgroup.procs", "")
	b.write(name, "memory.stat", "anon 0\nfile 0\n")
	st, err := os.Stat(dir)
	require.NoError(b.t, err)
	return st.Sys().(*syscall.Stat_t).Ino
}

func (b *bench) write(cgroup, file, text string) {
	require.NoError(b.t, os.WriteFile(filepath.Join(b.dir, cgroup, file), []byte(text), 0o644))
}

// start starts the extension with all its goroutines and registers the engine.
func (b *bench) start() {
	require.NoError(b.t, b.r.Start(context.Background(), b.host))
	b.register()
}

// assemble makes the arc without any goroutine: the test is the executor.
func (b *bench) assemble() {
	var err error
	b.r.host = b.host
	b.r.insp, err = newInspector(b.dir)
	require.NoError(b.t, err)
	b.r.policy = policy.New(b.r.cfg.rules(), nil)
	way, err := b.r.open(b.r)
	require.NoError(b.t, err)
	b.r.executor = newExecutor(b.r, way)
	b.register()
}

func (b *bench) register() {
	release, err := b.r.Register("ebpf", "mahalanobis", b.alarm)
	require.NoError(b.t, err)
	b.t.Cleanup(release)
}

// tick is one sample after the interval the arc asks for.
func (b *bench) tick() {
	interval := b.r.Control().Interval
	if interval == 0 {
		interval = 1e8
	}
	b.now.Add(interval)
	b.usage += uint64(b.rate * float64(interval) / 1e9)
	if b.rate != 0 {
		b.write("payment.service", "memory.stat", fmt.Sprintf("anon %d\nfile 1000\nkernel 1000\n", b.usage))
	}
	s := &b.sample
	s.Sequence++
	s.Scheduled, s.Taken, s.Interval, s.WallTime = b.now.Load(), b.now.Load(), interval, b.now.Load()
	s.Cgroups.Reset()
	s.Cgroups.Append(1, 0)
	i := s.Cgroups.Append(b.leaker, 1)
	s.Cgroups.Set(arc.CgroupMemoryUsage, i, b.usage)
	s.Cgroups.Set(arc.CgroupMemoryMax, i, b.limit)
	s.Cgroups.Set(arc.CgroupMemoryHigh, i, arc.Unlimited)
	began := time.Now()
	b.r.Observe(s, &b.judged)
	b.slow = max(b.slow, time.Since(began))
}

// pump carries out what is in the mailbox.
func (b *bench) pump() {
	for o, ok := b.r.mailbox.take(); ok; o, ok = b.r.mailbox.take() {
		b.r.answers.post(o, b.r.executor.act(context.Background(), o))
		b.r.mailbox.done(&o)
	}
}

// run ticks and pumps for so long.
func (b *bench) run(d time.Duration) {
	for end := b.now.Load() + int64(d); b.now.Load() < end; {
		b.tick()
		b.pump()
	}
}

// leak is five calm seconds and then a leak that the engine sees.
func (b *bench) leak() {
	b.run(5 * time.Second)
	b.rate = 50 * mb
	b.alarm.on.Store(true)
}

// eventually polls a condition.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			require.Fail(tb, "never happened", what)
		}
		time.Sleep(time.Millisecond)
	}
}
