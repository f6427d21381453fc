// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// asGuard makes the test binary behave as reflexguard.
const asGuard = "REFLEXGUARD_TEST_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asGuard) != "" {
		asTold()
		return
	}
	os.Exit(m.Run())
}

// fixture is a cgroup of plain files, with real trusted attributes, and the
// options of a guard over it.
type fixture struct {
	o  options
	id uint64
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "reflex") //nolint:usetesting // too long for a unix socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	root := filepath.Join(dir, "cgroup")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "leak"), 0o755))
	for name, text := range map[string]string{"memory.high": "max", "memory.max": "max", "memory.current": "104857600", "memory.stat": "anon 104857600"} {
		require.NoError(t, os.WriteFile(filepath.Join(root, "leak", name), []byte(text+"\n"), 0o600))
	}
	r, err := cgroupfs.OpenRoot(root)
	require.NoError(t, err)
	defer r.Close()
	d, err := r.OpenPath("/leak")
	require.NoError(t, err)
	defer d.Close()
	if err := d.Setxattr("trusted.reflex.test", []byte("x")); err != nil {
		t.Skipf("trusted attributes need CAP_SYS_ADMIN and a file system that has them: %v", err)
	}
	return &fixture{id: d.ID(), o: options{
		socket: filepath.Join(dir, "guard.sock"), uid: owner(os.Geteuid()), root: root, killSwitch: filepath.Join(dir, "off"),
	}}
}

func (f *fixture) high(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.o.root, "leak", "memory.high"))
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// contain has the served guard hold a ceiling, and returns its pid.
func (f *fixture) contain(t *testing.T, c *guard.Client) int {
	t.Helper()
	var pid int
	require.Eventually(t, func() bool {
		s, err := c.Status(t.Context())
		pid = s.PID
		return err == nil
	}, 20*time.Second, 2*time.Millisecond, "the guard serves")
	var out arc.Outcome
	o := arc.Order{Cgroup: f.id, Action: arc.ActionMemoryHigh, Parameter: 200 << 20, TTL: int64(30 * time.Second), Generation: decided(), Reason: "test"}
	require.NoError(t, c.Act(t.Context(), o, &out))
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	require.Equal(t, "209715200", f.high(t))
	return pid
}

// decided is now, as the generation of an order.
func decided() uint64 { return uint64(boottime()) }

func (f *fixture) restored(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return f.high(t) == "max" }, 20*time.Second, time.Millisecond, "the original is back")
}

// run supervises in this process, with children of this binary.
func (f *fixture) run(t *testing.T, hung time.Duration) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := supervisor{
		path: os.Args[0], flags: f.o.args(), env: []string{asGuard + "=1"},
		hung: hung, within: time.Second, log: slog.New(slog.DiscardHandler),
	}
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	stop = func() error { cancel(); return <-done }
	t.Cleanup(cancel)
	return stop
}

func TestSuperviseReplacesAKilledGuardAtOnce(t *testing.T) {
	f := newFixture(t)
	stop := f.run(t, time.Minute)
	c := guard.Dial(f.o.socket)
	defer c.Close()
	best := time.Hour
	for range 5 {
		pid := f.contain(t, c)
		killed := time.Now()
		require.NoError(t, unix.Kill(pid, unix.SIGKILL))
		require.Eventually(t, func() bool {
			s, err := c.Status(t.Context())
			return err == nil && s.PID != pid
		}, 20*time.Second, time.Millisecond, "another guard serves")
		best = min(best, time.Since(killed))
		assert.Equal(t, "max", f.high(t), "it restores before it serves")
		if best < 100*time.Millisecond {
			break
		}
	}
	t.Logf("killed to serving again: %v", best)
	assert.Less(t, best, 100*time.Millisecond, "best of five")

	f.contain(t, c)
	require.NoError(t, stop())
	assert.Equal(t, "max", f.high(t), "told to stop, it gives everything back first")
}

func TestSuperviseReplacesAGuardThatHangs(t *testing.T) {
	f := newFixture(t)
	stop := f.run(t, 500*time.Millisecond)
	c := guard.Dial(f.o.socket)
	defer c.Close()
	require.NoError(t, unix.Kill(f.contain(t, c), unix.SIGSTOP))
	f.restored(t)
	f.contain(t, c)
	require.NoError(t, stop())
	assert.Equal(t, "max", f.high(t))
}

func TestAGuardDiesWithItsSupervisorAndRestoreCleansUp(t *testing.T) {
	f := newFixture(t)
	parent := exec.Command(os.Args[0], append([]string{"supervise"}, f.o.args()...)...)
	parent.Env = append(os.Environ(), asGuard+"=1")
	require.NoError(t, parent.Start())
	c := guard.Dial(f.o.socket)
	defer c.Close()
	pid := f.contain(t, c)
	err := f.command(t, "restore")
	require.ErrorContains(t, err, "another guard is at work")

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, time.Millisecond, "the guard went with it")
	assert.Equal(t, "209715200", f.high(t), "nobody is left to give it back")
	require.NoError(t, f.command(t, "restore"))
	assert.Equal(t, "max", f.high(t))
}

// command runs reflexguard in this process.
func (f *fixture) command(t *testing.T, name string, more ...string) error {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append(append([]string{name}, f.o.args()...), more...))
	err := c.ExecuteContext(t.Context())
	t.Log(out.String())
	return err
}

// gone reports whether a process ended, reaped or not.
func gone(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(state, "Z")
}

func TestStatusAndVersionAnswer(t *testing.T) {
	f := newFixture(t)
	require.ErrorContains(t, f.command(t, "status"), "guard is not reachable at "+f.o.socket)
	stop := f.run(t, time.Minute)
	c := guard.Dial(f.o.socket)
	defer c.Close()
	f.contain(t, c)
	require.NoError(t, f.command(t, "status"))
	require.NoError(t, f.command(t, "status", "--json"))
	require.NoError(t, stop())
	require.NoError(t, f.command(t, "version"))
}

func TestRapidFailuresAreStartedAgainEverMoreSlowly(t *testing.T) {
	for failures, want := range map[int]time.Duration{0: 0, 1: 0, 2: 0, 3: 50 * time.Millisecond, 4: 100 * time.Millisecond, 6: 400 * time.Millisecond, 7: 500 * time.Millisecond, 1000: 500 * time.Millisecond} {
		assert.Equal(t, want, pause(failures), "%d", failures)
	}
}

func TestPausesLeaveTimeToRestoreWithinASecondOfTheShortestLeasesEnd(t *testing.T) {
	for failures := range 100 {
		assert.LessOrEqual(t, pause(failures), guard.MinTTL/2, "%d", failures)
	}
}

func TestPatternsReachTheGuardAsTheyAreGiven(t *testing.T) {
	for _, want := range []string{"", "a/b", "/a/"} {
		o := options{socket: filepath.Join(t.TempDir(), "s"), root: t.TempDir(), killSwitch: "/nowhere", protect: []string{"db-*", want}}
		f := fixture{o: o}
		require.ErrorContains(t, f.command(t, "restore"), "protect[1]: "+strconv.Quote(want))
	}
	f := fixture{o: options{socket: filepath.Join(t.TempDir(), "s"), root: t.TempDir(), killSwitch: "/nowhere", protect: []string{"a,["}}}
	require.ErrorContains(t, f.command(t, "restore"), `protect[0]: "a,["`)
}

func TestTheServiceManagerIsToldWhenTheGuardServes(t *testing.T) {
	f := newFixture(t)
	name := f.o.socket + ".notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	stop := f.run(t, time.Minute)
	buf := make([]byte, 64)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		require.NoError(t, l.SetReadDeadline(time.Now().Add(20*time.Second)))
		n, err := l.Read(buf)
		require.NoError(t, err)
		assert.Equal(t, want, string(buf[:n]))
		if want == "READY=1" {
			require.NoError(t, stop())
		}
	}
}
