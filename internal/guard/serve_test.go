// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/unixsocket"
)

// serving serves g until the test ends or stop is called.
func serving(tb testing.TB, g *Guard, socket string) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := unixsocket.Listen(socket, os.Geteuid())
	require.NoError(tb, err)
	done := make(chan error, 1)
	go func() { done <- serve(ctx, g, l, os.Geteuid()) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			assert.NoError(tb, <-done)
		}
	}
	tb.Cleanup(stop)
	return stop
}

// socketPath is short: a unix socket's name has 108 bytes at most.
func socketPath(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "reflex") //nolint:usetesting // its names are too long
	require.NoError(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "run", "guard.sock")
}

func TestASocketOfSomebodyElseSaysWhoseItShouldBe(t *testing.T) {
	m := newMachine(t)
	socket := socketPath(t)
	serving(t, m.guard(t), socket)
	require.NoError(t, os.Chmod(filepath.Dir(filepath.Dir(socket)), 0o755))
	require.NoError(t, os.Chmod(socket, 0))

	answer := make(chan error)
	go func() {
		if os.Geteuid() == 0 { // who opens every socket
			runtime.LockOSThread() // the thread gives that up, and ends with this function
			if err := unix.Setfsuid(65534); err != nil {
				answer <- err
				return
			}
		}
		c := Dial(socket)
		defer c.Close()
		_, err := c.Status(t.Context())
		answer <- err
	}()
	err := <-answer
	require.ErrorIs(t, err, unix.EACCES)
	assert.ErrorContains(t, err, fmt.Sprintf("start reflexguard with --uid=%d", os.Geteuid()))
}

func TestOrdersOverTheSocket(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	socket := socketPath(t)
	serving(t, g, socket)

	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	c := Dial(socket)
	defer c.Close()
	var out arc.Outcome
	require.NoError(t, c.Act(t.Context(), hold(id, 130*mib), &out))
	assert.Equal(t, arc.Outcome{
		Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: 130 * mib, Written: m.now(), Deadline: m.now() + 15*second,
	}, out)
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Len(t, s.Leases, 1)
	assert.Equal(t, "it grows", s.Leases[0].Reason)
	assert.Equal(t, "/a", s.Leases[0].Path)
	o := releaseOf(id)
	require.NoError(t, c.Act(t.Context(), o, &out))
	assert.Equal(t, arc.VerdictReleased, out.Verdict)
	o.Cgroup = 0
	require.NoError(t, c.Act(t.Context(), o, &out))
	assert.Equal(t, arc.VerdictRefused, out.Verdict, "the guard's own words come back")
	assert.NotEmpty(t, out.Cause)
	o.Action = 77
	require.NoError(t, c.Act(t.Context(), o, &out))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)

	conn, err := c.connect(t.Context())
	require.NoError(t, err)
	require.Error(t, conn.Call(t.Context(), serviceName, methodAct, wrapperspb.Bytes([]byte("{")), &wrapperspb.BytesValue{}))
	require.NoError(t, c.Act(t.Context(), hold(id, 130*mib), &out), "nonsense ends no connection")
}

func TestThePeerOfTheSocketIsProtectedWhileItIsConnected(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	g.safe.pids = pidset{} // forget that this process is the guard itself
	m.process(t, "a", os.Getpid(), "a test", 1000)
	socket := socketPath(t)
	serving(t, g, socket)
	c := Dial(socket)
	var out arc.Outcome
	require.NoError(t, c.Act(t.Context(), hold(id, 130*mib), &out))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "protected")
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return !g.safe.pids.has(os.Getpid()) }, 5*time.Second, 5*time.Millisecond)
	assert.Equal(t, arc.VerdictGranted, act(t, g, hold(id, 130*mib)).Verdict)
}

func TestOnlyTheCollectorsUserAndRootAreLetIn(t *testing.T) {
	g := newMachine(t).guard(t)
	for _, c := range []struct {
		uid uint32
		err error
		in  bool
	}{{1000, nil, true}, {0, nil, true}, {1001, nil, false}, {0, errors.New("no credentials"), false}, {1<<32 - 1, nil, false}} {
		a := &admission{guard: g, uid: 1000, credentials: func(net.Conn) (*unix.Ucred, error) { return &unix.Ucred{Uid: c.uid, Pid: 4}, c.err }}
		ours, theirs := net.Pipe()
		conn, _, err := a.Handshake(t.Context(), ours)
		assert.Equal(t, c.in, err == nil, "uid %d: %v", c.uid, err)
		if err == nil {
			assert.True(t, g.safe.pids.has(4))
			conn.Close()
			assert.False(t, g.safe.pids.has(4))
			assert.Zero(t, a.open)
		}
		theirs.Close()
	}
	a := &admission{guard: g, credentials: func(net.Conn) (*unix.Ucred, error) { return &unix.Ucred{Pid: 4}, nil }}
	for i := range maxConnections + 1 {
		ours, _ := net.Pipe()
		_, _, err := a.Handshake(t.Context(), ours)
		assert.Equal(t, i < maxConnections, err == nil)
	}
}

func TestAllButOperatorsArePaced(t *testing.T) {
	g := newMachine(t).guard(t)
	for _, c := range []struct {
		collector int
		peer      uint32
		paced     bool
	}{{1000, 1000, true}, {1000, 0, false}, {0, 0, true}} {
		credentials := func(net.Conn) (*unix.Ucred, error) { return &unix.Ucred{Uid: c.peer, Pid: 4}, nil }
		ours, theirs := net.Pipe()
		a := &admission{guard: g, uid: c.collector, credentials: credentials, pace: rate.NewLimiter(1, 1)}
		conn, _, err := a.Handshake(t.Context(), ours)
		require.NoError(t, err)
		assert.Equal(t, c.paced, conn.(*admitted).pace != nil, "calls: %+v", c)
		require.NoError(t, conn.Close())
		theirs.Close()

		socket := socketPath(t)
		l, err := unixsocket.Listen(socket, os.Geteuid())
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- serveAs(ctx, g, l, c.collector, credentials) }()
		client := Dial(socket)
		began := time.Now()
		for range reportBurst + 2 {
			_, err := client.Status(t.Context())
			require.NoError(t, err)
		}
		assert.Equal(t, c.paced, time.Since(began) > time.Second/reportRate, "reports: %+v took %v", c, time.Since(began))
		client.Close()
		stop()
		require.NoError(t, <-ended)
	}
}

func TestConnectionsTakeTurns(t *testing.T) {
	const apart = 50 * time.Millisecond
	pace := rate.NewLimiter(rate.Every(apart), 1)
	began := time.Now()
	var took []time.Duration
	for range 3 {
		theirs, ours := net.Pipe()
		defer theirs.Close()
		c := newAdmitted(ours, func() {}, func(error) {}, pace)
		defer c.Close()
		go func() { _, _ = theirs.Write([]byte{0}) }()
		_, err := c.Read(make([]byte, 1))
		require.NoError(t, err)
		took = append(took, time.Since(began))
	}
	assert.GreaterOrEqual(t, took[2], 2*apart-time.Millisecond)

	_, ours := net.Pipe()
	c := newAdmitted(ours, func() {}, func(error) {}, rate.NewLimiter(rate.Every(time.Hour), 0))
	time.AfterFunc(10*time.Millisecond, func() { c.Close() })
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "who is gone does not wait")
}

func TestAWrongUserGetsNoAnswerFromTheSocket(t *testing.T) {
	g := newMachine(t).guard(t)
	socket := socketPath(t)
	l, err := unixsocket.Listen(socket, os.Geteuid())
	require.NoError(t, err)
	server, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(&admission{guard: g, uid: 1, credentials: func(net.Conn) (*unix.Ucred, error) {
		return &unix.Ucred{Uid: 2, Pid: 4}, nil
	}}))
	require.NoError(t, err)
	server.RegisterService(serviceName, service(g))
	go server.Serve(context.Background(), l)
	defer server.Close()
	c := Dial(socket)
	defer c.Close()
	var out arc.Outcome
	err = c.Act(t.Context(), hold(1, 1), &out)
	require.ErrorContains(t, err, "guard is not reachable at "+socket)
	audit := g.Status().Audit
	require.Len(t, audit, 1, "the attempt is recorded, and no order")
	assert.Equal(t, "uid 2 may not give orders", audit[0].Cause)
	assert.Empty(t, audit[0].Action)
}

func TestAnAbsentGuardIsSaidSo(t *testing.T) {
	socket := socketPath(t)
	c := Dial(socket)
	var out arc.Outcome
	err := c.Act(t.Context(), hold(1, 1), &out)
	require.ErrorContains(t, err, "guard is not reachable at "+socket+": ")
	require.ErrorIs(t, err, unix.ENOENT)
	assert.Equal(t, arc.Outcome{}, out)
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Act(t.Context(), hold(1, 1), &out), net.ErrClosed)
}

func TestAClientOutlivesItsGuard(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	socket := socketPath(t)
	g := m.guard(t)
	stop := serving(t, g, socket)
	c := Dial(socket)
	defer c.Close()
	var out arc.Outcome
	require.NoError(t, c.Act(t.Context(), hold(id, 130*mib), &out))
	stop()
	require.Error(t, c.Act(t.Context(), hold(id, 130*mib), &out))
	require.NoError(t, g.Close())
	serving(t, m.guard(t), socket)
	require.NoError(t, c.Act(t.Context(), hold(id, 130*mib), &out))
	assert.Equal(t, arc.VerdictGranted, out.Verdict, "the former guard gave it back")
}

func TestAGuardThatDoesNotAnswerIsGivenUpOn(t *testing.T) {
	socket := socketPath(t)
	l, err := unixsocket.Listen(socket, os.Geteuid())
	require.NoError(t, err)
	defer l.Close() // it never accepts
	c := Dial(socket)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var out arc.Outcome
	err = c.Act(ctx, hold(1, 1), &out)
	require.ErrorContains(t, err, "guard is not reachable")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestTheSocketIsTakenOnlyFromTheDead(t *testing.T) {
	socket := socketPath(t)
	g := newMachine(t).guard(t)
	stop := serving(t, g, socket)
	require.ErrorIs(t, Serve(t.Context(), g, socket, os.Geteuid()), ErrBusySocket)
	stop()

	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	serving(t, g, socket)()

	require.NoError(t, os.WriteFile(socket, []byte("precious"), 0o600))
	require.ErrorContains(t, Serve(t.Context(), g, socket, os.Geteuid()), "is no socket")
	text, err := os.ReadFile(socket)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
}

func TestOneGuardASocket(t *testing.T) {
	socket := socketPath(t)
	unlock, err := Lock(socket)
	require.NoError(t, err)
	_, err = Lock(socket)
	require.ErrorIs(t, err, ErrLocked)
	unlock()
	unlock, err = Lock(socket)
	require.NoError(t, err)
	unlock()
}

func TestRunEndsLeasesOnTheKernelsClock(t *testing.T) {
	m := newMachine(t)
	m.change = func(c *Config) { c.Clock = nil }
	id := m.cgroup(t, "a")
	g := m.guard(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	o := hold(id, 130*mib)
	o.TTL = second
	out := act(t, g, o)
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	require.Eventually(t, func() bool { return m.high(t, "a") == arc.Unlimited }, 10*time.Second, 5*time.Millisecond)
	assert.GreaterOrEqual(t, boottime(), out.Deadline, "not before")
	cancel()
	require.NoError(t, <-done)
}

// A guard with nothing to do does nearly nothing, and is at work at once.
func TestAGuardWithNothingHeldLooksSeldom(t *testing.T) {
	for _, observe := range []bool{false, true} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		assert.Equal(t, Stroll, g.pace())
		o := hold(id, 130*mib)
		o.Observe = observe
		act(t, g, o)
		assert.Equal(t, patrol, g.pace(), observe)
		assert.Len(t, g.entered, 1, "Run is told and does not wait for the next Stroll")
		act(t, g, o) // and needs not be listening
		o.Verb = arc.Release
		act(t, g, o)
		assert.Equal(t, Stroll, g.pace())
	}
}

func TestRunListensForLeases(t *testing.T) {
	n := newNetwork(t)
	id := n.cgroup(t, "a")
	g := n.guard(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	for _, o := range []arc.Order{hold(id, 130*mib), {Interface: 2, Action: arc.ActionShield, Verb: arc.Hold, Parameter: 1000, TTL: 15 * second, Generation: 1, Reason: "test"}} {
		require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
		require.Eventually(t, func() bool { return len(g.entered) == 0 }, 10*time.Second, time.Millisecond)
		assert.Equal(t, patrol, g.pace())
	}
	cancel()
	require.NoError(t, <-done)
}

// A lease of the network is one, too.
func TestALeaseOfTheNetworkIsLookedAfter(t *testing.T) {
	g := newNetwork(t).guard(t)
	o := arc.Order{Interface: 2, Action: arc.ActionShield, Verb: arc.Hold, Parameter: 1000, TTL: 15 * second, Generation: 1, Reason: "test"}
	require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
	assert.Equal(t, patrol, g.pace())
	assert.Len(t, g.entered, 1)
}

func TestRequirementsSayWhatIsMissingAndHowToGetIt(t *testing.T) {
	all := Requirements()
	require.NotEmpty(t, all)
	for _, r := range all {
		assert.NotEmpty(t, r.Name)
		assert.Equal(t, r.Present, r.Cause == "", "%+v", r)
		assert.Equal(t, r.Present, r.Remedy == "", "%+v", r)
	}
	for _, r := range requirements(t.TempDir()) {
		if r.Name == "cgroup v2" || r.Name == "memory controller" {
			assert.False(t, r.Present, "a plain directory is no %s", r.Name)
		}
	}
	assert.Empty(t, newMachine(t).guard(t).Requirements(), "nothing to need over plain files")
}

func TestTheSocketBelongsToTheCollectorsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a file away needs root")
	}
	socket := socketPath(t)
	l, err := unixsocket.Listen(socket, 12345)
	require.NoError(t, err)
	defer l.Close()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(socket, &st))
	assert.Equal(t, uint32(12345), st.Uid)
	assert.Equal(t, uint32(0o600), st.Mode&0o777)
	require.NoError(t, unix.Stat(filepath.Dir(socket), &st))
	assert.Equal(t, uint32(0o755), st.Mode&0o777)
}
