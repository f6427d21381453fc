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
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// testDir is the environment variable that has a child of this test test itself
// in one directory only; slowStop has it take its time to stop.
const (
	testDir  = "REFLEXGUARD_TEST_DIRECTORY"
	slowStop = "REFLEXGUARD_TEST_SLOW_STOP"
)

// asTold is main, but for what the environment changes.
func asTold() {
	if dir := os.Getenv(testDir); dir != "" {
		selfTestDirs = func() []string { return []string{dir} }
	}
	if os.Getenv(asTenant) == talks {
		talk()
		return
	}
	if os.Getenv(asTenant) != "" {
		time.Sleep(5 * time.Minute)
		return
	}
	if os.Getenv(slowStop) != "" {
		stopSlowly()
		return
	}
	main()
}

// stopSlowly is a guard that beats until it is told to stop and then releases,
// without a beat, for a second.
func stopSlowly() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	for beat := heartbeat(); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		beat(0)
	}
	time.Sleep(time.Second)
}

// left makes a lease that nobody gives back any more.
func (f *fixture) left(t *testing.T) {
	t.Helper()
	child := exec.Command(os.Args[0], append([]string{"serve"}, f.o.args()...)...)
	child.Env = append(os.Environ(), asGuard+"=1")
	require.NoError(t, child.Start())
	c := guard.Dial(f.o.socket)
	defer c.Close()
	f.contain(t, c)
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.Equal(t, "209715200", f.high(t))
}

func TestAGuardThatFailsItsSelfTestHasRestoredBefore(t *testing.T) {
	f := newFixture(t)
	f.left(t)
	child := exec.Command(os.Args[0], append([]string{"serve"}, f.o.args()...)...)
	child.Env = append(os.Environ(), asGuard+"=1", testDir+"=/proc") // where nothing can be made
	text, err := child.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(text), "self-test")
	assert.Equal(t, "max", f.high(t))
}

func TestADirectoryThatCannotBeWrittenToFailsNoSelfTest(t *testing.T) {
	full := t.TempDir()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "nr_inodes=2"); err != nil {
		t.Skipf("a full file system needs CAP_SYS_ADMIN: %v", err)
	}
	defer func() { assert.NoError(t, unix.Unmount(full, 0)) }()
	require.ErrorIs(t, guard.SelfTest(t.Context(), full), unix.ENOSPC)
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	require.NoError(t, selfTest(t.Context(), log, []string{full, t.TempDir()}))
	assert.NotContains(t, text.String(), "not tested", "the next directory is tried")
	require.NoError(t, selfTest(t.Context(), log, []string{full, full + "/none"}))
	assert.Contains(t, text.String(), "not tested")
	require.Error(t, selfTest(t.Context(), log, []string{"/proc"}), "any other failure is one")
}

func TestSuperviseRestoresForAGuardThatDoesNotStop(t *testing.T) {
	f := newFixture(t)
	stop := f.run(t, time.Minute)
	c := guard.Dial(f.o.socket)
	defer c.Close()
	require.NoError(t, unix.Kill(f.contain(t, c), unix.SIGSTOP))
	require.NoError(t, stop())
	assert.Equal(t, "max", f.high(t))
}

func TestSuperviseRestoresWhenItIsToldToStopBetweenStarts(t *testing.T) {
	f := newFixture(t)
	f.left(t)
	ctx, cancel := context.WithCancel(t.Context())
	s := supervisor{
		path: os.Args[0], flags: f.o.args(), env: []string{asGuard + "=1"},
		hung: time.Minute, within: time.Second, log: slog.New(slog.DiscardHandler),
	}
	cancel()
	require.NoError(t, s.end(errEnded))
	assert.Equal(t, "max", f.high(t))
	s.path = "/proc/none"
	require.NoError(t, s.end(nil), "one that stopped by itself has given everything back")
	require.ErrorContains(t, s.run(ctx), "restore", "one that cannot start did not")
}

func TestAGuardThatReleasesSlowlyIsNotTakenForHung(t *testing.T) {
	f := newFixture(t)
	name := f.o.socket + ".notify"
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", name)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := supervisor{
		path: os.Args[0], env: []string{asGuard + "=1", slowStop + "=1"},
		hung: 500 * time.Millisecond, within: 20 * time.Second, log: slog.New(slog.DiscardHandler),
		pulse: pulse{hung: 500 * time.Millisecond, clock: boottime},
	}
	done := make(chan error, 1)
	go func() { done <- s.child(ctx) }()
	require.NoError(t, l.SetReadDeadline(time.Now().Add(20*time.Second)))
	_, err = l.Read(make([]byte, 64)) // READY=1
	require.NoError(t, err)
	cancel()
	require.NoError(t, <-done)
}

// Where the socket's directory cannot be had, no orders are taken, but what is left goes
// back all the same.
func TestWhatIsLeftGoesBackWhereNoSocketCanBe(t *testing.T) {
	for _, name := range []string{"serve", "restore"} {
		f := newFixture(t)
		f.left(t)
		in := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(in, nil, 0o600))
		f.o.socket = filepath.Join(in, "guard.sock") // below no directory, nor can there be one
		err := f.command(t, name)
		if name == "serve" {
			require.ErrorContains(t, err, "guard.sock.lock")
		} else {
			require.NoError(t, err)
		}
		require.Equal(t, "max", f.high(t), name)
	}
}
