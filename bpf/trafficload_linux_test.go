// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// plan is what a process sends to itself, in a network namespace of its own.
type plan struct {
	Connections int  // TCP, one after the other
	Bytes       int  // over each, either way
	Datagrams   int  // UDP
	Size        int  // of each
	MTU         int  // of the loopback interface, if not its own
	Wait        bool // with the datagrams, whose sockets are open, for a line on standard input
}

// sent is what the namespace's own counters say that a process did.
type sent struct {
	Bytes   uint64 // of the loopback interface, IP headers included; received equals sent
	Packets uint64 // of TCP and UDP
	Opens   uint64
	// DatagramTime is the CPU time of a datagram, sent and received, in ns.
	DatagramTime float64
}

// counts are what this leaves in the counts of the cgroup.
func (s *sent) counts() trafficCounts {
	return trafficCounts{s.Bytes, s.Packets, s.Bytes, s.Packets, s.Opens}
}

// makeTraffic is the process: it prints what was sent and ends.
func makeTraffic(text string) {
	var p plan
	err := json.Unmarshal([]byte(text), &p)
	if err == nil {
		runtime.LockOSThread() // the namespace is a thread's
		err = unix.Unshare(unix.CLONE_NEWNET)
	}
	if err == nil {
		err = testmachine.SwitchOn("lo")
	}
	if err == nil && p.MTU > 0 {
		err = setMTU("lo", p.MTU)
	}
	var took float64
	if err == nil {
		took, err = p.datagrams()
	}
	if err == nil {
		err = p.connections()
	}
	report := &sent{}
	if err == nil {
		report, err = readSent()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	report.DatagramTime = took
	_ = json.NewEncoder(os.Stdout).Encode(report)
	_ = os.Stdout.Sync()
}

func setMTU(name string, bytes int) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint32(uint32(bytes))
	return unix.IoctlIfreq(s, unix.SIOCSIFMTU, request)
}

// datagrams returns the CPU time of each in ns.
func (p *plan) datagrams() (took float64, err error) {
	receiver, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(receiver)
	sender, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(sender)
	if err := unix.Bind(receiver, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	to, err := unix.Getsockname(receiver)
	if err != nil {
		return 0, err
	}
	if p.Wait {
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return 0, err
		}
	}
	buffer := make([]byte, p.Size)
	began := threadTime()
	for range p.Datagrams {
		if err := unix.Sendto(sender, buffer, 0, to); err != nil {
			return 0, err
		}
		if n, _, err := unix.Recvfrom(receiver, buffer, 0); err != nil || n != p.Size {
			return 0, fmt.Errorf("received %d of %d bytes: %w", n, p.Size, err)
		}
	}
	return float64(threadTime()-began) / float64(max(p.Datagrams, 1)), nil
}

func (p *plan) connections() error {
	l, err := listen()
	if err != nil {
		return err
	}
	defer unix.Close(l.socket)
	for range p.Connections {
		if err := p.connection(l); err != nil {
			return err
		}
	}
	return nil
}

// connection sends there and back and ends in an orderly way: a socket that is
// closed before its peer's end has come leaves the rest to the kernel.
func (p *plan) connection(l *listener) error {
	caller, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(caller)
	if err := unix.Connect(caller, &unix.SockaddrInet4{Port: l.port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	accepted, _, err := unix.Accept(l.socket)
	if err != nil {
		return err
	}
	buffer := make([]byte, 32<<10)
	for left := p.Bytes; left > 0; left -= len(buffer) {
		part := buffer[:min(left, len(buffer))]
		for _, pair := range [][2]int{{caller, accepted}, {accepted, caller}} {
			if err := pass(pair[0], pair[1], part); err != nil {
				return errors.Join(err, unix.Close(accepted))
			}
		}
	}
	if err := unix.Shutdown(caller, unix.SHUT_WR); err != nil {
		return errors.Join(err, unix.Close(accepted))
	}
	if err := ends(accepted); err != nil {
		return errors.Join(err, unix.Close(accepted))
	}
	if err := unix.Close(accepted); err != nil {
		return err
	}
	return ends(caller)
}

// pass sends part, which fits the buffers, and receives it.
func pass(from, to int, part []byte) error {
	if n, err := unix.Write(from, part); err != nil || n != len(part) {
		return fmt.Errorf("sent %d of %d bytes: %w", n, len(part), err)
	}
	for got := 0; got < len(part); {
		n, err := unix.Read(to, part[got:])
		if err != nil || n == 0 {
			return fmt.Errorf("received %d of %d bytes: %w", got, len(part), err)
		}
		got += n
	}
	return nil
}

func ends(socket int) error {
	var one [1]byte
	n, err := unix.Read(socket, one[:])
	if err == nil && n > 0 {
		err = errors.New("more than was sent")
	}
	return err
}

func readSent() (*sent, error) {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil, err
	}
	_, line, ok := strings.Cut(string(text), "lo:")
	fields := strings.Fields(line)
	if !ok || len(fields) < 10 {
		return nil, errors.New("no counters of the loopback interface")
	}
	s := &sent{}
	if s.Bytes, err = strconv.ParseUint(fields[8], 10, 64); err != nil {
		return nil, err
	}
	segments, err := snmpCounter("Tcp", "OutSegs")
	if err != nil {
		return nil, err
	}
	datagrams, err := snmpCounter("Udp", "OutDatagrams")
	if err != nil {
		return nil, err
	}
	s.Packets = segments + datagrams
	s.Opens, err = snmpCounter("Tcp", "ActiveOpens")
	return s, err
}

// maker is a process that makes traffic.
type maker struct {
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
}

// startTraffic starts a process in the cgroup at path.
func startTraffic(t testing.TB, path string, p plan) *maker {
	t.Helper()
	directory, err := os.Open(path)
	require.NoError(t, err)
	defer directory.Close()
	text, err := json.Marshal(p)
	require.NoError(t, err)
	m := &maker{command: exec.Command("/proc/self/exe")}
	m.command.Env = append(os.Environ(), "REFLEX_TEST_TRAFFIC="+string(text))
	m.command.Stderr = os.Stderr
	m.command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())}
	m.input, err = m.command.StdinPipe()
	require.NoError(t, err)
	output, err := m.command.StdoutPipe()
	require.NoError(t, err)
	m.output = bufio.NewReader(output)
	require.NoError(t, m.command.Start())
	if p.Wait {
		line, err := m.output.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "ready\n", line)
	}
	return m
}

// goOn lets a process that waits go on.
func (m *maker) goOn(t testing.TB) {
	t.Helper()
	_, err := m.input.Write([]byte("\n"))
	require.NoError(t, err)
}

// wait returns what the process sent.
func (m *maker) wait(t testing.TB) *sent {
	t.Helper()
	var s sent
	require.NoError(t, json.NewDecoder(m.output).Decode(&s))
	require.NoError(t, m.command.Wait())
	return &s
}
