// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

func TestAShieldOnAWire(t *testing.T) {
	for name, generic := range map[string]bool{"native": false, "generic": true} {
		t.Run(name, func(t *testing.T) { inOwnNetwork(t, func() error { return shieldAWire(t, generic) }) })
	}
}

func shieldAWire(t *testing.T, generic bool) error {
	t.Helper()
	if err := addVeth(); err != nil {
		return err
	}
	here, err := tapOf(hereEnd)
	if err != nil {
		return err
	}
	defer here.close()
	far, err := tapOf(farEnd)
	if err != nil {
		return err
	}
	defer far.close()
	flood := packet("203.0.113.5", "10.99.0.1", protocolUDP, udp(1, 2, 201))
	arrive := func() (int, error) {
		for range 100 {
			if err := far.send(flood); err != nil {
				return 0, err
			}
		}
		return here.receives(flood)
	}

	n, err := arrive()
	assert.Equal(t, 100, n, "without a shield")
	if err != nil {
		return err
	}
	o := ShieldOptions{Interface: here.index, Rate: 100, Aggregate: 1000, Deadline: bootAfter(t, time.Minute), Generic: generic}
	e, err := OpenShield(o)
	if err != nil {
		return err
	}
	runtime.GC() // nothing refers to the link but the shield
	n, err = arrive()
	assert.Positive(t, n, "the burst")
	assert.Less(t, n, 60, "with a shield")
	counts := e.counted(t)
	assert.Equal(t, uint64(100-n), counts["dropped.source"])

	_, taken := OpenShield(o)
	assert.ErrorIs(t, taken, ErrHookTaken, "the hook is taken, and stays the first one's")
	o.Generic = !generic
	_, taken = OpenShield(o)
	assert.ErrorIs(t, taken, ErrHookTaken)
	_, none := OpenShield(ShieldOptions{Interface: 1 << 20, Deadline: o.Deadline})
	assert.Error(t, none)
	if err != nil {
		return err
	}

	if err := e.Close(); err != nil {
		return err
	}
	n, err = arrive()
	assert.Equal(t, 100, n, "after it")
	return err
}

// A program of the older kind, which has no link, is somebody's as well.
func TestAShieldReplacesNobody(t *testing.T) {
	inOwnNetwork(t, func() error {
		if err := addVeth(); err != nil {
			return err
		}
		i, err := net.InterfaceByName(hereEnd)
		if err != nil {
			return err
		}
		other, err := prepareShield(ShieldOptions{})
		if err != nil {
			return err
		}
		defer other.Close()
		l, err := link.AttachXDP(link.XDPOptions{Program: other.loaded.Programs["shield"], Interface: i.Index, Flags: link.XDPGenericMode})
		if err != nil {
			return err
		}
		defer l.Close()
		for _, generic := range []bool{false, true} {
			_, err = OpenShield(ShieldOptions{Interface: i.Index, Deadline: bootAfter(t, time.Minute), Generic: generic})
			assert.ErrorIs(t, err, ErrHookTaken)
		}
		return nil
	})
}

func TestADriverWithoutXDPIsToldApart(t *testing.T) {
	inOwnNetwork(t, func() error {
		// Loopback has generic XDP only.
		o := ShieldOptions{Interface: 1, Rate: 1, Deadline: bootAfter(t, time.Minute)}
		_, err := OpenShield(o)
		assert.ErrorIs(t, err, ErrNoNativeXDP)
		o.Generic = true
		e, err := OpenShield(o)
		if err != nil {
			return err
		}
		return e.Close()
	})
}

// talk is what a process in a cgroup does that a test limits: on each line it is
// given it sends or receives a datagram, and answers what came of it.
func talk() error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := errors.Join(testmachine.SwitchOn("lo"), addVeth()); err != nil {
		return err
	}
	far, err := tapOf(farEnd)
	if err != nil {
		return err
	}
	here, err := net.InterfaceByName(hereEnd)
	if err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	wait := unix.NsecToTimeval(int64(300 * time.Millisecond))
	if err := errors.Join(unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait), unix.Bind(s, &unix.SockaddrInet4{Port: 5000})); err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch what, argument, _ := strings.Cut(lines.Text(), " "); what {
		case "send":
			to := net.ParseIP(argument).To4()
			err = unix.Sendto(s, make([]byte, 1000), 0, &unix.SockaddrInet4{Port: 5000, Addr: [4]byte(to)})
		case "receive":
			f := packet(argument, "10.99.0.1", protocolUDP, udp(5000, 5000, 1000))
			copy(f, here.HardwareAddr)
			binarySum(f)
			if err = far.send(f); err == nil {
				_, _, err = unix.Recvfrom(s, make([]byte, 2000), 0)
			}
		}
		fmt.Println(err)
	}
	return nil
}

// binarySum fills in the checksum of an IPv4 header; that of UDP may be 0.
func binarySum(f frame) {
	var sum uint32
	for i := 14; i < 34; i += 2 {
		sum += uint32(f[i])<<8 | uint32(f[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	f[24], f[25] = byte(^sum>>8), byte(^sum)
}

// talker is a process that talks, in a cgroup of its own.
type talker struct {
	t         *testing.T
	in        io.Writer
	out       *bufio.Scanner
	directory *os.File
}

func startTalker(t *testing.T) *talker {
	t.Helper()
	directory, err := os.Open(newTree(t))
	require.NoError(t, err)
	t.Cleanup(func() { directory.Close() })
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "REFLEX_TEST_TALK=1")
	c.Stderr = os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	in, err := c.StdinPipe()
	require.NoError(t, err)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		in.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	k := &talker{t, in, bufio.NewScanner(out), directory}
	require.Equal(t, "ready", k.answer())
	return k
}

func (k *talker) answer() string {
	k.t.Helper()
	require.True(k.t, k.out.Scan(), "the process in the cgroup is gone")
	return k.out.Text()
}

func (k *talker) do(what string) string {
	k.t.Helper()
	_, err := fmt.Fprintln(k.in, what)
	require.NoError(k.t, err)
	return k.answer()
}

const (
	fine     = "<nil>"
	denied   = "operation not permitted"
	unheard  = "resource temporarily unavailable"
	stranger = "10.99.0.2"
	listed   = "10.99.0.7"
)

func TestQuarantineOfACgroup(t *testing.T) {
	k := startTalker(t)
	for _, what := range []string{"send " + stranger, "receive " + stranger, "send " + listed} {
		require.Equal(t, fine, k.do(what), what)
	}
	e, err := OpenQuarantine(VerdictOptions{Cgroup: int(k.directory.Fd()), Deadline: bootAfter(t, time.Minute), Allowed: prefixesOf(listed + "/32")})
	unable(t, err)
	defer e.Close()
	runtime.GC()
	assert.Equal(t, denied, k.do("send "+stranger))
	assert.Equal(t, unheard, k.do("receive "+stranger))
	assert.Equal(t, fine, k.do("send "+listed))
	assert.Equal(t, fine, k.do("receive "+listed))
	assert.Equal(t, fine, k.do("send 127.0.0.1"))
	counts := e.counted(t)
	assert.GreaterOrEqual(t, counts["dropped.denied"], uint64(2), counts) // the kernel has something to say as well
	assert.Equal(t, uint64(2), counts["passed.allowed"], counts)
	assert.GreaterOrEqual(t, counts["passed.loopback"], uint64(1), counts)

	require.NoError(t, e.Renew(0, bootAfter(t, 0)))
	require.Eventually(t, func() bool { return k.do("send "+stranger) == fine }, 5*time.Second, 10*time.Millisecond, "its deadline has passed")
	require.NoError(t, e.Renew(0, bootAfter(t, time.Minute)))
	require.Equal(t, denied, k.do("send "+stranger))
	require.NoError(t, e.Close())
	assert.Eventually(t, func() bool { return k.do("send "+stranger) == fine && len(attached(t, k.directory.Name())) == 0 }, 5*time.Second, 10*time.Millisecond, "it is detached")
}

func TestAThrottleOfACgroup(t *testing.T) {
	k := startTalker(t)
	e, err := OpenThrottle(VerdictOptions{Cgroup: int(k.directory.Fd()), Rate: 100_000, Deadline: bootAfter(t, time.Minute)})
	unable(t, err)
	defer e.Close()
	require.Len(t, attached(t, k.directory.Name()), 2)
	for range 200 {
		require.NotEqual(t, denied, k.do("send "+stranger), "who sends is not told of an error of its own")
	}
	counts := e.counted(t)
	assert.Positive(t, counts["dropped.rate"], counts)
	assert.Positive(t, counts["passed"], counts)
	require.NoError(t, e.Renew(1<<30, bootAfter(t, time.Minute)))
	passed := func() uint64 { return e.counted(t)["passed"] }
	require.Eventually(t, func() bool { // what was overdrawn is paid back first
		before := passed()
		k.do("send " + stranger)
		return passed() > before
	}, 5*time.Second, 10*time.Millisecond)
	before := passed()
	for range 50 {
		k.do("send " + stranger)
	}
	assert.Equal(t, before+50, passed(), "a higher rate holds from then on")
	assert.Equal(t, fine, k.do("receive "+stranger))
}
