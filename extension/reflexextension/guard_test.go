// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// attributes keeps extended attributes in memory.
type attributes struct {
	mu     sync.Mutex
	values map[string][]byte
}

func attributeKey(id uint64, name string) string { return strconv.FormatUint(id, 10) + name }

func (a *attributes) Get(_ int, id uint64, name string) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if v, ok := a.values[attributeKey(id, name)]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("get %s: %w", name, cgroupfs.ErrNoAttribute)
}

func (a *attributes) Set(_ int, id uint64, name string, value []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[attributeKey(id, name)] = append([]byte(nil), value...)
	return nil
}

func (a *attributes) Remove(_ int, id uint64, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.values, attributeKey(id, name))
	return nil
}

// real is a guard over the bench's tree.
func (b *bench) real() guard.Config {
	return guard.Config{
		Root:       b.dir,
		KillSwitch: filepath.Join(b.t.TempDir(), "off"),
		Attributes: &attributes{values: map[string][]byte{}},
		Clock:      b.now.Load,
		BootID:     "test",
		Logger:     slogger(zap.NewNop()),
	}
}

// limitable gives the leaker the files that a guard reads and writes.
func (b *bench) limitable() {
	b.write("payment.service", "memory.high", "max\n")
	b.write("payment.service", "memory.max", fmt.Sprintf("%d\n", b.limit))
	b.write("payment.service", "memory.min", "0\n")
	b.write("payment.service", "memory.low", "0\n")
	b.write("payment.service", "memory.current", fmt.Sprintf("%d\n", b.usage))
	b.write("payment.service", "memory.stat", fmt.Sprintf("anon %d\nfile 0\nkernel 0\n", b.usage))
	b.write("payment.service", "cgroup.type", "domain\n")
	b.write("payment.service", "cgroup.controllers", "memory\n")
}

func (b *bench) high() string {
	text, err := os.ReadFile(filepath.Join(b.dir, "payment.service", "memory.high"))
	require.NoError(b.t, err)
	return strings.TrimSpace(string(text))
}

func TestEmbeddedGuardContainsAndShutdownGivesBack(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Mode, c.Guard = modeEnforce, guardEmbedded })
	b.limitable()
	b.r.open = func(r *reflex) (link, error) { return embedGuard(r, b.real()) }
	b.start()
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	eventually(t, "memory.high is written", func() bool { b.tick(); return b.high() != "max" })
	ceiling, err := strconv.ParseUint(b.high(), 10, 64)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, ceiling, uint64(1300*mb))
	assert.Less(t, ceiling, b.limit)
	require.NoError(t, b.r.Shutdown(context.Background()))
	assert.Equal(t, "max", b.high())
}

// hung is a guard that never answers about one cgroup.
type hung struct {
	*wire
	cgroup uint64
}

func (h hung) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	if o.Cgroup == h.cgroup {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.wire.Act(ctx, o, out)
}

func TestAnOrderThatHangsKeepsNoneAboutAnotherCgroup(t *testing.T) {
	b := newBench(t, enforce)
	b.r.open = func(*reflex) (link, error) { return hung{b.wire, 7}, nil }
	b.start()
	began := time.Now()
	for range 3 {
		b.r.mailbox.post(arc.Order{Cgroup: 7, Action: arc.ActionMemoryHigh, Parameter: 1})
		time.Sleep(5 * time.Millisecond)
	}
	for cgroup := range uint64(5) {
		b.r.mailbox.post(arc.Order{Cgroup: 8 + cgroup, Action: arc.ActionMemoryHigh, Parameter: 1})
	}
	eventually(t, "the others are carried out", func() bool { return len(b.wire.got()) == 5 })
	assert.Less(t, time.Since(began), actWithin, "while the first still hangs")
}

// blocked is an actuator whose writes block on one cgroup, until the test is over.
type blocked struct {
	cgroup uint64
	over   chan struct{}
}

func (b blocked) Act(_ context.Context, o arc.Order, out *arc.Outcome) error {
	if o.Cgroup == b.cgroup {
		<-b.over
	}
	out.Verdict = arc.VerdictGranted
	return nil
}

func TestAWriteThatBlocksKeepsNoOrderOfAnEmbeddedGuard(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	e := &embedded{actuator: blocked{7, over}, acting: make(chan struct{}, maxActing)}
	for range maxActing {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		var out arc.Outcome
		require.ErrorIs(t, e.Act(ctx, arc.Order{Cgroup: 7}, &out), context.DeadlineExceeded)
		cancel()
		if len(e.acting) < maxActing {
			require.NoError(t, e.Act(t.Context(), arc.Order{Cgroup: 8}, &out))
			assert.Equal(t, arc.VerdictGranted, out.Verdict)
		}
	}
	require.ErrorContains(t, e.Act(t.Context(), arc.Order{Cgroup: 8}, new(arc.Outcome)), "still being carried out")
}

func TestObservingWithARealGuardWritesNothing(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Guard = guardEmbedded })
	b.limitable()
	b.r.open = func(r *reflex) (link, error) { return embedGuard(r, b.real()) }
	b.assemble()
	defer b.r.executor.link.Close()
	b.leak()
	b.run(2 * time.Second)
	assert.Contains(t, kinds(records(b)), "action observed")
	assert.Equal(t, "max", b.high())
}

func TestGuardBehindItsSocket(t *testing.T) {
	b := newBench(t, enforce)
	b.limitable()
	socketPath := filepath.Join(t.TempDir(), "guard.sock")
	b.r.open = func(*reflex) (link, error) { return dial(socketPath), nil }
	b.start()
	eventually(t, "the missing guard is noticed", func() bool { return strings.Contains(b.r.problem(), "does not answer") })
	assert.Equal(t, modeObserve, b.r.effective())
	missing := b.r.missing()
	assert.Equal(t, "reflexguard", missing[len(missing)-1].Name)

	g, err := guard.New(b.real())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	served.Go(func() { _ = guard.Serve(ctx, g, socketPath, os.Getuid()) })
	defer func() { cancel(); served.Wait(); assert.NoError(t, g.Close()) }()
	eventually(t, "the guard answers", func() bool { return b.r.effective() == modeEnforce })

	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	eventually(t, "memory.high is written", func() bool { b.tick(); return b.high() != "max" })
	require.NoError(t, b.r.Shutdown(context.Background()))
	assert.Equal(t, "max", b.high(), "released at Shutdown")
}

func TestAGuardThatIsStartedAgainHoldsAgainWhatIsStillWanted(t *testing.T) {
	b := newBench(t, enforce)
	b.limitable()
	socketPath := filepath.Join(t.TempDir(), "guard.sock")
	b.r.open = func(*reflex) (link, error) { return dial(socketPath), nil }
	serve := func() (stop func()) {
		g, err := guard.New(b.real())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.Background())
		var served sync.WaitGroup
		served.Go(func() { _ = guard.Serve(ctx, g, socketPath, os.Getuid()) })
		return func() { cancel(); served.Wait(); assert.NoError(t, g.Close()) }
	}
	stop := serve()
	b.start()
	eventually(t, "the guard answers", func() bool { return b.r.effective() == modeEnforce })
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	eventually(t, "memory.high is written", func() bool { b.tick(); return b.high() != "max" })
	stop()
	require.Equal(t, "max", b.high())
	b.rate = mb
	defer serve()()
	restarted := b.now.Load()
	eventually(t, "memory.high is written again", func() bool { b.tick(); return b.high() != "max" })
	took := time.Duration(b.now.Load() - restarted)
	assert.Less(t, took, 9*time.Second, "decided anew with the next renewal, and not after the pause of a refusal")
	require.NoError(t, b.r.Shutdown(context.Background()))
	assert.Equal(t, "max", b.high())
}

func TestMissingRequirementsAreNamedWithTheirRemedy(t *testing.T) {
	require.NoError(t, lacking([]guard.Requirement{{Name: "CAP_BPF", Present: true}}))
	err := lacking([]guard.Requirement{
		{Name: "cgroup v2", Present: true},
		{Name: "CAP_SYS_ADMIN", Cause: "the process does not have it", Remedy: "give it CAP_SYS_ADMIN"},
	})
	require.ErrorContains(t, err, "CAP_SYS_ADMIN is missing (the process does not have it): give it CAP_SYS_ADMIN")
	assert.NotContains(t, err.Error(), "cgroup v2")
}

// TestEmbeddedGuardOnThisMachine asks for enforcement where the test runs: it
// must start if nothing is missing and name what is, if something is.
func TestEmbeddedGuardOnThisMachine(t *testing.T) {
	missing := guard.Missing(guard.Requirements())
	if len(missing) == 0 {
		t.Skip("nothing is missing on this machine")
	}
	b := newBench(t, func(c *Config) { c.Mode, c.Guard, c.CgroupRoot = modeEnforce, guardEmbedded, "" })
	b.r.open = openLink
	err := b.r.Start(context.Background(), b.host)
	require.ErrorContains(t, err, "guard: ")
	for _, m := range missing {
		require.ErrorContains(t, err, m.Name)
		require.ErrorContains(t, err, m.Remedy)
	}
}

func TestEmbeddedGuardIsToldOfTheNetwork(t *testing.T) {
	for _, permitted := range []bool{false, true} {
		b := newBench(t, func(c *Config) {
			c.Guard, c.Network.AllowQuarantine, c.Network.Peer = guardEmbedded, permitted, []string{"10.0.0.0/8"}
		})
		cfg, err := embeddedConfig(b.r)
		require.NoError(t, err)
		assert.Equal(t, guard.Network{
			Peers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Quarantine: permitted, Aggregate: guard.DefaultAggregate,
		}, cfg.Network)
		real := b.real()
		real.Network = cfg.Network
		l, err := embedGuard(b.r, real)
		require.NoError(t, err)
		assert.Equal(t, permitted, slices.Contains(l.(*embedded).guard.Status().Actions, arc.ActionQuarantine.String()))
		require.NoError(t, l.Close())
	}
}

func TestActingOnTheNetworkNeedsMoreAndSaysWhat(t *testing.T) {
	need := guard.Requirement{Name: "CAP_NET_ADMIN", Cause: "the process does not have it", Remedy: "give it"}
	networkRequirements = func() []guard.Requirement { return []guard.Requirement{need} }
	t.Cleanup(func() { networkRequirements = guard.NetworkRequirements })
	for name, tt := range map[string]struct {
		change         func(*Config)
		named, refused bool
	}{
		"levels without the network":  {change: func(c *Config) { c.Mode = modeEnforce }},
		"network that is not judged":  {change: func(c *Config) { c.Policy.MaxLevel, c.Policy.Resources = 5, []string{"memory"} }},
		"network that is observed":    {change: func(c *Config) { c.Policy.MaxLevel = 4 }, named: true},
		"enforcing, network observed": {change: func(c *Config) { c.Mode, c.Policy.MaxLevel = modeEnforce, 4 }, named: true},
		"network that is enforced": {change: func(c *Config) {
			c.Mode, c.Policy.MaxLevel, c.Policy.Enforce = modeEnforce, 4, []string{"memory", "network"}
		}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.Guard = guardEmbedded; tt.change(c) })
			l, err := embedGuard(b.r, b.real())
			if tt.refused {
				require.ErrorContains(t, err, "an embedded guard cannot enforce: CAP_NET_ADMIN is missing (the process does not have it): give it")
				return
			}
			require.NoError(t, err)
			defer l.Close()
			var names []string
			for _, m := range l.Missing() {
				names = append(names, m.Name)
			}
			assert.Equal(t, tt.named, slices.Contains(names, "CAP_NET_ADMIN"), names)
		})
	}
}

func TestAGuardThatCannotBeMadeObserves(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Guard = guardEmbedded })
	b.r.open = func(r *reflex) (link, error) { return embedGuard(r, guard.Config{Root: "/no/such/root"}) }
	b.assemble()
	b.leak()
	b.run(2 * time.Second)
	assert.Contains(t, kinds(records(b)), "action observed")
	assert.Contains(t, b.r.executor.reached.Load().cause, "/no/such/root")
}

func TestGuardLogsThroughTheCollectorsLogger(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	l := slogger(zap.New(core)).With("a", 1).WithGroup("g")
	l.Debug("quiet")
	l.Warn("loud", "b", "two")
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, map[string]any{"a": int64(1), "g.b": "two"}, logs.All()[0].ContextMap())
	assert.Equal(t, zap.WarnLevel, logs.All()[0].Level)
}

var _ arc.Actuator = (*wire)(nil)
