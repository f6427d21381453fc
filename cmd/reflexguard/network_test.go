// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/guard/guardtest"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// asTenant makes the test binary a process that only waits to be killed.
const asTenant = "REFLEXGUARD_TEST_TENANT"

// wired is a network namespace with a wire, a cgroup of the kernel's with a
// process in it, and a guard over both.
type wired struct {
	t         *testing.T
	cgroup    uint64
	directory *os.File
	o         options
	guard     *exec.Cmd
	index     int
	pass      *ebpf.Program // somebody else's
	tasks     chan func()   // for the thread that is in the namespace
}

func newWired(t *testing.T) *wired {
	t.Helper()
	mount := guardtest.Network(t)
	w := &wired{t: t, tasks: make(chan func())}
	root := filepath.Join(mount, "reflexguard-test-"+strconv.Itoa(os.Getpid()))
	flood := filepath.Join(root, "flood")
	require.NoError(t, os.MkdirAll(flood, 0o755))
	t.Cleanup(func() {
		assert.NoError(t, os.Remove(flood))
		assert.NoError(t, os.Remove(root))
	})
	var err error
	w.directory, err = os.Open(flood)
	require.NoError(t, err)
	t.Cleanup(func() { w.directory.Close() })
	tenant := exec.Command(os.Args[0])
	tenant.Env = append(os.Environ(), asGuard+"=1", asTenant+"=1")
	tenant.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(w.directory.Fd())}
	require.NoError(t, tenant.Start())
	t.Cleanup(func() {
		_ = tenant.Process.Kill()
		_ = tenant.Wait()
	})
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(int(w.directory.Fd()), &st))
	w.cgroup = st.Ino
	dir, err := os.MkdirTemp("", "reflex") //nolint:usetesting // too long for a unix socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.o = options{
		socket: filepath.Join(dir, "guard.sock"), uid: owner(os.Geteuid()), root: root, killSwitch: filepath.Join(dir, "off"),
		network: networkOptions{quarantine: true, allowed: prefixes{netip.MustParsePrefix("10.0.0.0/8")}},
	}
	w.pass, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, License: "GPL"})
	require.NoError(t, err)
	t.Cleanup(func() { w.pass.Close() })

	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the namespace ends with the thread, and the guard
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = testmachine.AddVeth("here", "far")
		}
		if err == nil {
			var i *net.Interface
			if i, err = net.InterfaceByName("here"); err == nil {
				w.index = i.Index
			}
		}
		entered <- err
		for task := range w.tasks {
			task()
		}
	}()
	require.NoError(t, <-entered)
	t.Cleanup(func() { close(w.tasks) })
	return w
}

// inside calls do in the network namespace.
func (w *wired) inside(do func() error) error {
	done := make(chan error)
	w.tasks <- func() { done <- do() }
	return <-done
}

// serve starts a guard there.
func (w *wired) serve() *guard.Client {
	w.t.Helper()
	w.guard = exec.Command(os.Args[0], append([]string{"serve"}, w.o.args()...)...)
	w.guard.Env = append(os.Environ(), asGuard+"=1")
	require.NoError(w.t, w.inside(w.guard.Start))
	w.t.Cleanup(func() {
		_ = w.guard.Process.Kill()
		_ = w.guard.Wait()
	})
	c := guard.Dial(w.o.socket)
	w.t.Cleanup(func() { _ = c.Close() })
	require.Eventually(w.t, func() bool {
		_, err := c.Status(w.t.Context())
		return err == nil
	}, 20*time.Second, 2*time.Millisecond, "the guard serves")
	return c
}

// hold has the guard do all that it can to the network.
func (w *wired) hold(c *guard.Client) {
	w.t.Helper()
	for _, o := range []arc.Order{
		{Cgroup: w.cgroup, Action: arc.ActionNetworkThrottle, Parameter: 1 << 20},
		{Cgroup: w.cgroup, Action: arc.ActionQuarantine},
		{Interface: uint32(w.index), Action: arc.ActionShield, Parameter: 1000},
	} {
		o.TTL, o.Generation, o.Reason = int64(time.Minute), decided(), "test"
		var out arc.Outcome
		require.NoError(w.t, c.Act(w.t.Context(), o, &out))
		require.Equal(w.t, arc.VerdictGranted, out.Verdict, "%s: %s", o.Action, out.Cause)
	}
	require.NoError(w.t, w.attached(4, true))
}

// attached reports whether as many programs are on the cgroup, and one on the
// interface or none.
func (w *wired) attached(want int, shielded bool) error {
	n := 0
	for _, at := range []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress} {
		r, err := link.QueryPrograms(link.QueryOptions{Target: int(w.directory.Fd()), Attach: at})
		if err != nil {
			return err
		}
		n += len(r.Programs)
	}
	if n != want {
		return fmt.Errorf("%d programs are on the cgroup, not %d", n, want)
	}
	return w.inside(func() error {
		l, err := link.AttachXDP(link.XDPOptions{Program: w.pass, Interface: w.index, Flags: link.XDPDriverMode})
		switch {
		case err == nil && !shielded:
			return l.Close()
		case err == nil:
			return errors.Join(errors.New("the interface's hook is free"), l.Close())
		case shielded && errors.Is(err, unix.EBUSY):
			return nil
		}
		return err
	})
}

func TestAKilledGuardLeavesNoProgramAttached(t *testing.T) {
	w := newWired(t)
	w.hold(w.serve())
	killed := time.Now()
	require.NoError(t, w.guard.Process.Kill())
	var last error
	require.Eventually(t, func() bool {
		last = w.attached(0, false)
		return last == nil
	}, 10*time.Second, time.Millisecond, "%v", last)
	took := time.Since(killed)
	t.Logf("killed to detached: %v", took)
	assert.Less(t, took, time.Second)
}

func TestAGuardThatStopsOrIsSwitchedOffDetachesItsPrograms(t *testing.T) {
	w := newWired(t)
	c := w.serve()
	w.hold(c)
	require.NoError(t, os.WriteFile(w.o.killSwitch, nil, 0o600))
	require.Eventually(t, func() bool { return w.attached(0, false) == nil }, 10*time.Second, time.Millisecond, "switched off")
	require.NoError(t, os.Remove(w.o.killSwitch))
	w.hold(c)
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	assert.Len(t, s.Leases, 3)
	require.NoError(t, w.guard.Process.Signal(unix.SIGTERM))
	require.NoError(t, w.guard.Wait())
	require.NoError(t, w.attached(0, false))
}

func TestNetworkFlagsReachTheGuardAsTheyAreGiven(t *testing.T) {
	o := networkOptions{
		management: prefixes{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}, peers: prefixes{netip.MustParsePrefix("10.0.0.0/8")},
		allowed: prefixes{netip.MustParsePrefix("198.51.100.1/32")}, quarantine: true, genericXDP: true, aggregate: 7,
	}
	c := command()
	var got networkOptions
	c.ResetFlags()
	got.flags(c)
	require.NoError(t, c.ParseFlags(o.args()))
	assert.Equal(t, o, got)
	require.ErrorContains(t, c.ParseFlags([]string{"--peer=10.0.0.0"}), "10.0.0.0")
}
