// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// inOwnNetwork calls do in a network namespace that has a loopback interface and
// ends with it.
func inOwnNetwork(tb testing.TB, do func() error) {
	tb.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the namespace ends with the thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = testmachine.SwitchOn("lo")
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	err := <-done
	if errors.Is(err, unix.EPERM) {
		tb.Skip(err)
	}
	require.NoError(tb, err)
}

// listener takes TCP connections to every local address of both families.
type listener struct{ socket, port int }

func listen() (*listener, error) {
	s, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0),
		unix.Bind(s, &unix.SockaddrInet6{}), unix.Listen(s, 16)); err != nil {
		return nil, errors.Join(err, unix.Close(s))
	}
	bound, err := unix.Getsockname(s)
	if err != nil {
		return nil, errors.Join(err, unix.Close(s))
	}
	return &listener{s, bound.(*unix.SockaddrInet6).Port}, nil
}

// connect makes a connection and ends it.
func (l *listener) connect(family int, to unix.Sockaddr) error {
	s, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.Connect(s, to); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	accepted, _, err := unix.Accept(l.socket)
	if err != nil {
		return err
	}
	return unix.Close(accepted)
}

func (l *listener) connect4(address [4]byte) error {
	return l.connect(unix.AF_INET, &unix.SockaddrInet4{Port: l.port, Addr: address})
}

func (l *listener) connect6(address [16]byte) error {
	return l.connect(unix.AF_INET6, &unix.SockaddrInet6{Port: l.port, Addr: address})
}

// tcpCounter reads a counter of TCP in the thread's network namespace.
func tcpCounter(name string) (uint64, error) { return snmpCounter("Tcp", name) }

// snmpCounter reads a counter of a protocol in the thread's network namespace.
func snmpCounter(protocol, name string) (uint64, error) {
	text, err := os.ReadFile("/proc/thread-self/net/snmp")
	if err != nil {
		return 0, err
	}
	var header []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if header == nil {
			header = fields
			continue
		}
		for i, h := range header {
			if h == name {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("no counter %s", name)
}

// The counter is of the whole machine: what others connect meanwhile is allowed
// for by what their namespace says, and twenty more for namespaces unseen.
func TestNodeCountsConnectionsBegun(t *testing.T) {
	n := openNode(t)
	const connections = 200
	others, err := tcpCounter("ActiveOpens")
	require.NoError(t, err)
	before := read(t, n, arc.NodeTCPOpens)
	var own uint64
	into := absent()
	inOwnNetwork(t, func() error {
		l, err := listen()
		if err != nil {
			return err
		}
		defer unix.Close(l.socket)
		for i := range connections {
			if err := l.connect4([4]byte{127, 0, 0, byte(1 + i%4)}); err != nil {
				return err
			}
		}
		sockets, err := crowd() // without an answer, and counted
		defer closeAll(sockets)
		if err != nil {
			return err
		}
		if own, err = tcpCounter("ActiveOpens"); err != nil {
			return err
		}
		return n.Read(into)
	})
	delta := into[arc.NodeTCPOpens] - before
	now, err := tcpCounter("ActiveOpens")
	require.NoError(t, err)
	t.Logf("counted %g connections; ActiveOpens: %d here, %d elsewhere", delta, own, now-others)
	assert.Equal(t, uint64(connections+crowded), own)
	assert.GreaterOrEqual(t, delta, float64(own))
	assert.LessOrEqual(t, delta, float64(own+now-others+20))
}

// Entropy of k equal destinations is ln k / ln 256, less what the hash loses by
// collisions: 0.03 for 64 of them. Connections of others blur it, too.
func TestNodeTellsWhereConnectionsGo(t *testing.T) {
	mapped := [16]byte{10: 0xff, 11: 0xff, 12: 127, 15: 1}
	for name, tc := range map[string]struct {
		connect func(l *listener, i int) error
		want    float64
	}{
		"one destination": {func(l *listener, _ int) error { return l.connect4([4]byte{127, 0, 0, 1}) }, 0},
		"one destination by two families": {func(l *listener, i int) error {
			if i%2 == 0 {
				return l.connect6(mapped)
			}
			return l.connect4([4]byte{127, 0, 0, 1})
		}, 0},
		"two destinations": {func(l *listener, i int) error {
			if i%2 == 0 {
				return l.connect6([16]byte{15: 1})
			}
			return l.connect4([4]byte{127, 0, 0, 1})
		}, 0.125},
		"64 destinations": {func(l *listener, i int) error { return l.connect4([4]byte{127, 0, 1, byte(i % 64)}) }, 0.75},
	} {
		t.Run(name, func(t *testing.T) {
			n := openNode(t)
			read(t, n, arc.NodeTCPDestinationEntropy)
			inOwnNetwork(t, func() error {
				l, err := listen()
				if err != nil {
					return err
				}
				defer unix.Close(l.socket)
				for i := range 640 {
					if err := tc.connect(l, i); err != nil {
						return err
					}
				}
				return nil
			})
			got := read(t, n, arc.NodeTCPDestinationEntropy)
			t.Logf("entropy %.3f, without collisions and others %.3f", got, tc.want)
			assert.InDelta(t, tc.want, got, 0.08)
		})
	}
}

// Retransmissions in a namespace of its own are those the kernel counts there:
// of segments, SYN being one, and of the SYN-ACK of a listener.
func TestNodeAgreesWithTheKernelsRetransmissions(t *testing.T) {
	for name, provoke := range map[string]func() error{
		"SYN":     unanswered,
		"SYN-ACK": deferred,
	} {
		t.Run(name, func(t *testing.T) {
			n := openNode(t)
			others, err := tcpCounter("RetransSegs")
			require.NoError(t, err)
			before := read(t, n, arc.NodeTCPRetransmits)
			var own uint64
			inOwnNetwork(t, func() error {
				if err := provoke(); err != nil {
					return err
				}
				own, err = tcpCounter("RetransSegs")
				return err
			})
			delta := read(t, n, arc.NodeTCPRetransmits) - before
			now, err := tcpCounter("RetransSegs")
			require.NoError(t, err)
			t.Logf("counted %g segments sent again; RetransSegs: %d here, %d elsewhere", delta, own, now-others)
			assert.Positive(t, own)
			assert.GreaterOrEqual(t, delta, float64(own))
			assert.LessOrEqual(t, delta, float64(own+now-others+20))
		})
	}
}

// crowd begins more connections than a listener takes: the last of them get no
// answer. The sockets are for the caller to close, the listener's first.
func crowd() (sockets []int, err error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	sockets = append(sockets, l)
	if err := errors.Join(unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(l, 0)); err != nil {
		return sockets, err
	}
	bound, err := unix.Getsockname(l)
	if err != nil {
		return sockets, err
	}
	for range crowded {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return sockets, err
		}
		sockets = append(sockets, s)
		if err := unix.Connect(s, bound); err != nil && !errors.Is(err, unix.EINPROGRESS) {
			return sockets, err
		}
	}
	return sockets, nil
}

// crowded is how many connections a crowd begins.
const crowded = 4

// unanswered begins connections that get no answer and waits until they have
// been tried again.
func unanswered() error {
	sockets, err := crowd()
	defer closeAll(sockets)
	if err != nil {
		return err
	}
	return untilSentAgain()
}

// deferred connects to a listener that wants data first, sends none, and waits
// until the listener has repeated its SYN-ACK.
func deferred() error {
	l, err := listen()
	if err != nil {
		return err
	}
	defer unix.Close(l.socket)
	if err := unix.SetsockoptInt(l.socket, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1); err != nil {
		return err
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.Connect(s, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: l.port}); err != nil {
		return err
	}
	return untilSentAgain()
}

// untilSentAgain waits until the kernel has sent a segment again, which it first
// does after a second.
func untilSentAgain() error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		n, err := tcpCounter("RetransSegs")
		if err != nil || n > 0 {
			return err
		}
	}
	return errors.New("nothing was sent again within 10 s")
}

func closeAll(sockets []int) {
	for _, s := range sockets {
		unix.Close(s)
	}
}
