// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// talks makes the test binary a process that does as told on its standard input.
const talks = "talks"

// heardWithin is how long a process waits for who may be cut off.
const heardWithin = 700 * time.Millisecond

// talk holds TCP sessions: "dial ADDRESS" begins one, "say ADDRESS" sends a byte in
// it and waits for the same, "listen ADDRESS" answers others. It answers each line.
func talk() {
	sessions := map[string]net.Conn{}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		what, address, _ := strings.Cut(lines.Text(), " ")
		var err error
		switch what {
		case "listen":
			_, err = echo(address)
		case "dial":
			if old := sessions[address]; old != nil {
				old.Close()
			}
			sessions[address], err = net.DialTimeout("tcp", address, heardWithin)
		case "say":
			err = say(sessions[address])
		}
		fmt.Println(err)
	}
}

// echo sends back what it receives on an address.
func echo(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l, nil
}

// say has a byte come back: this one or, where that was held up, an earlier one.
func say(conn net.Conn) error {
	if conn == nil {
		return errors.New("there is no session")
	}
	if err := conn.SetDeadline(time.Now().Add(heardWithin)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte{'x'}); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

const (
	nodeHere     = "10.99.0.1"
	nodeStranger = "10.99.0.2"
	nodePeer     = "10.99.0.7"
	nodeAdmin    = "10.99.0.9"
	nodeAPI      = ":6443"
)

// cut is a node with a wire to another machine, which has three addresses, a
// process on it, and a guard whose collector is somebody else.
type cut struct {
	*wired
	in    io.Writer
	out   *bufio.Scanner
	far   chan func()
	guard *guard.Client // of an operator
	// decided is when the order was that holds, or did last.
	decided uint64
}

func newCut(t *testing.T, change ...func(*networkOptions)) *cut {
	t.Helper()
	c := &cut{wired: newWired(t), far: make(chan func())}
	namespace := make(chan int)
	go func() {
		runtime.LockOSThread() // for good: the namespace ends with the thread
		fd := -1
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			fd, _ = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		namespace <- fd
		for task := range c.far {
			task()
		}
	}()
	fd := <-namespace
	require.NotEqual(t, -1, fd)
	defer unix.Close(fd)
	t.Cleanup(func() { close(c.far) })
	require.NoError(t, c.inside(func() error {
		return errors.Join(testmachine.MoveTo("far", fd), testmachine.SetAddress("here", netip.MustParsePrefix(nodeHere+"/24")))
	}))
	var served net.Listener
	require.NoError(t, c.beyond(func() (err error) {
		for i, address := range []string{nodeStranger, nodePeer, nodeAdmin} {
			name := "far"
			if i > 0 {
				name = fmt.Sprintf("far:%d", i)
			}
			err = errors.Join(err, testmachine.SetAddress(name, netip.MustParsePrefix(address+"/24")))
		}
		if err = errors.Join(err, testmachine.SwitchOn("far")); err == nil {
			served, err = echo(nodeAPI)
		}
		return err
	}))
	t.Cleanup(func() { served.Close() })

	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), asGuard+"=1", asTenant+"="+talks)
	process.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(c.directory.Fd())}
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	require.NoError(t, err)
	out, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.inside(process.Start))
	t.Cleanup(func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	})
	c.in, c.out = in, bufio.NewScanner(out)

	c.o.uid = hostileUID
	c.o.network = networkOptions{
		quarantine: true, management: prefixes{netip.MustParsePrefix(nodeAdmin + "/32")}, peers: prefixes{netip.MustParsePrefix(nodePeer + "/32")},
	}
	for _, change := range change {
		change(&c.o.network)
	}
	require.NoError(t, os.Chmod(filepath.Dir(c.o.socket), 0o755))
	c.guard = c.serve()
	return c
}

// beyond calls do on the other machine.
func (c *cut) beyond(do func() error) error {
	done := make(chan error)
	c.far <- func() { done <- do() }
	return <-done
}

// do has the process do something and returns what came of it.
func (c *cut) do(what string) string {
	c.t.Helper()
	_, err := fmt.Fprintln(c.in, what)
	require.NoError(c.t, err)
	require.True(c.t, c.out.Scan(), "the process is gone")
	return c.out.Text()
}

const fine = "<nil>"

// visit has an address of the other machine begin a session with this one.
func (c *cut) visit(from string) error {
	return c.beyond(func() error {
		d := net.Dialer{Timeout: heardWithin, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := d.Dial("tcp", nodeHere+":22")
		if err != nil {
			return err
		}
		defer conn.Close()
		return say(conn)
	})
}

// open expects that everybody is reached, sessions that were there included.
func (c *cut) open(when string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.do("say "+nodeStranger+nodeAPI) == fine }, 20*time.Second, time.Millisecond, "%s: the session goes on", when)
	for _, who := range []string{nodeStranger, nodePeer} {
		require.Equal(c.t, fine, c.do("dial "+who+nodeAPI), "%s: %s", when, who)
		require.Equal(c.t, fine, c.do("say "+who+nodeAPI), "%s: %s", when, who)
	}
	for _, who := range []string{nodeStranger, nodeAdmin} {
		require.NoError(c.t, c.visit(who), "%s: from %s", when, who)
	}
}

// order cuts the node off, or not any more.
func (c *cut) order(verb arc.Verb, ttl time.Duration) arc.Outcome {
	c.t.Helper()
	if verb == arc.Hold {
		c.decided = decided()
	}
	var out arc.Outcome
	require.NoError(c.t, c.guard.Act(c.t.Context(), arc.Order{
		Action: arc.ActionNodeQuarantine, Verb: verb, Parameter: uint64(time.Minute), TTL: int64(ttl), Generation: c.decided, Reason: "test",
	}, &out))
	return out
}

// programs counts what is attached to the root of the test's cgroups.
func (c *cut) programs() int {
	c.t.Helper()
	root, err := os.Open(c.o.root)
	require.NoError(c.t, err)
	defer root.Close()
	n := 0
	for _, at := range []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress} {
		r, err := link.QueryPrograms(link.QueryOptions{Target: int(root.Fd()), Attach: at})
		require.NoError(c.t, err)
		n += len(r.Programs)
	}
	return n
}

func TestANodeIsCutOffAndComesBack(t *testing.T) {
	c := newCut(t)
	require.Equal(t, fine, c.do("listen :22"))
	require.Equal(t, fine, c.do("dial "+nodeStranger+nodeAPI))
	c.open("before")

	o := arc.Order{Action: arc.ActionNodeQuarantine, Parameter: uint64(time.Minute), TTL: int64(15 * time.Second), Generation: decided(), Reason: "trust me"}
	out := c.as(hostileUID, o)
	assert.Equal(t, arc.VerdictRefused, out.Verdict, "of the collector's user")
	assert.Contains(t, out.Cause, "an operator's alone")
	assert.Zero(t, c.programs())

	out = c.order(arc.Hold, 15*time.Second)
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	assert.Contains(t, out.Cause, "is not the root of the hierarchy", "of a test, it says so")
	assert.Equal(t, 2, c.programs())
	assert.NotEqual(t, fine, c.do("say "+nodeStranger+nodeAPI), "a session with a stranger is cut")
	assert.Equal(t, fine, c.do("say "+nodePeer+nodeAPI), "one with a peer is not")
	assert.NotEqual(t, fine, c.do("dial "+nodeStranger+":443"))
	assert.Equal(t, fine, c.do("dial "+nodePeer+nodeAPI))
	require.NoError(t, c.visit(nodeAdmin), "SSH of an operator")
	require.Error(t, c.visit(nodeStranger))
	assert.Equal(t, arc.VerdictRefused, c.as(hostileUID, arc.Order{Action: arc.ActionNodeQuarantine, Verb: arc.Release, Generation: c.decided}).Verdict)
	require.Equal(t, arc.VerdictReleased, c.order(arc.Release, 0).Verdict)
	require.Equal(t, fine, c.do("dial "+nodeStranger+nodeAPI))
	c.open("released")
	assert.Zero(t, c.programs())

	// A guard that hangs: its programs end by themselves.
	require.Equal(t, arc.VerdictGranted, c.order(arc.Hold, 2*time.Second).Verdict)
	require.NoError(t, c.wired.guard.Process.Signal(unix.SIGSTOP))
	require.NotEqual(t, fine, c.do("say "+nodeStranger+nodeAPI))
	c.open("past the deadline")
	assert.Equal(t, 2, c.programs(), "nobody took them off")
	require.NoError(t, c.wired.guard.Process.Signal(unix.SIGCONT))
	require.Eventually(t, func() bool { return c.programs() == 0 }, 10*time.Second, time.Millisecond, "the guard comes by")

	s, err := c.guard.Status(t.Context())
	require.NoError(t, err)
	var said []string
	for _, e := range s.Audit {
		assert.Equal(t, "network.quarantine.node", e.Action)
		said = append(said, e.Verb+" "+e.Verdict+" "+e.Path)
	}
	assert.Equal(t, []string{"hold refused ", "hold granted /", "release refused ", "release released /", "hold granted /", "release released /"}, said)
	assert.Equal(t, "the lease expired", s.Audit[len(s.Audit)-1].Cause)

	// A guard that is killed.
	require.Equal(t, arc.VerdictGranted, c.order(arc.Hold, 15*time.Second).Verdict)
	require.NotEqual(t, fine, c.do("say "+nodeStranger+nodeAPI))
	killed := time.Now()
	require.NoError(t, c.wired.guard.Process.Kill())
	require.Eventually(t, func() bool { return c.programs() == 0 }, 10*time.Second, time.Millisecond)
	took := time.Since(killed)
	t.Logf("killed to detached: %v", took)
	assert.Less(t, took, time.Second)
	c.open("after a SIGKILL")
}

// Where somebody can go to a node, or has a BMC, it works with nobody but whom everything is
// allowed with.
func TestTheEnvironmentChoosesWhatStaysOpen(t *testing.T) {
	c := newCut(t, func(o *networkOptions) {
		require.NoError(t, o.place.Set("edge"))
		o.allowed = prefixes{netip.MustParsePrefix(nodeStranger + "/32")}
	})
	require.Equal(t, fine, c.do("listen :22"))
	require.Equal(t, fine, c.do("dial "+nodePeer+nodeAPI))
	out := c.order(arc.Hold, 15*time.Second)
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	assert.Equal(t, fine, c.do("dial "+nodeStranger+nodeAPI), "who is allowed")
	assert.NotEqual(t, fine, c.do("say "+nodePeer+nodeAPI), "a peer")
	require.Error(t, c.visit(nodeAdmin), "SSH of an operator")
	require.Equal(t, arc.VerdictReleased, c.order(arc.Release, 0).Verdict)
	require.NoError(t, c.visit(nodeAdmin))
}

// as gives an order as a user: a thread gives up what it is, and ends.
func (c *cut) as(uid int, o arc.Order) (out arc.Outcome) {
	c.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			done <- errno
			return
		}
		g := guard.Dial(c.o.socket)
		defer g.Close()
		done <- g.Act(c.t.Context(), o, &out)
	}()
	require.NoError(c.t, <-done)
	return out
}
