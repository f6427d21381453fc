// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

const (
	hostileUID    = 61234    // of a collector that has been taken over
	strangerUID   = 61235    // of somebody who is nobody to the guard
	residentLimit = 12 << 20 // design.md's budget for the guard
)

// besieged is a real reflexguard, in a process of its own, whose collector is
// not to be trusted.
type besieged struct {
	*fixture
	pid      int
	operator *guard.Client // root, connected before it all begins
	ids      map[string]uint64
	resident atomic.Int64 // the most seen

	collections atomic.Int64 // of garbage
}

// collection begins a line of the Go runtime about a collection of garbage.
const collection = "gc "

func besiege(t *testing.T) *besieged {
	t.Helper()
	b := &besieged{fixture: newFixture(t), ids: map[string]uint64{}}
	b.ids["leak"] = b.id
	for _, c := range []string{"init.scope", "system.slice", "system.slice/ssh.service", "user.slice", "guard"} {
		dir := filepath.Join(b.o.root, c)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, text := range map[string]string{"memory.high": "max", "memory.max": "max", "memory.current": "104857600", "memory.stat": "anon 104857600", "cgroup.procs": ""} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600))
		}
		b.ids[c] = inode(t, dir)
	}
	b.ids["/"] = inode(t, b.o.root)

	binary := filepath.Join(t.TempDir(), "reflexguard")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	b.o.uid = hostileUID
	require.NoError(t, os.Chmod(filepath.Dir(b.o.socket), 0o755))
	cmd := exec.Command(binary, append([]string{"serve"}, b.o.args()...)...)
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1", "GOMAXPROCS=64") // as on a large machine
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	var said strings.Builder
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if line := lines.Text(); strings.HasPrefix(line, collection) {
				b.collections.Add(1)
			} else {
				said.WriteString(line + "\n")
			}
		}
	}()
	require.NoError(t, cmd.Start())
	b.pid = cmd.Process.Pid
	b.operator = guard.Dial(b.o.socket)
	require.Eventually(t, func() bool { _, err := b.operator.Status(t.Context()); return err == nil }, 20*time.Second, 2*time.Millisecond)
	environ, err := os.ReadFile("/proc/" + strconv.Itoa(b.pid) + "/environ")
	require.NoError(t, err)
	assert.Contains(t, string(environ), "GOMAXPROCS=2\x00", "it began anew, on two CPUs")
	require.NoError(t, os.WriteFile(filepath.Join(b.o.root, "guard", "cgroup.procs"), []byte(strconv.Itoa(b.pid)+"\n"), 0o600))
	watched := make(chan struct{})
	stop := make(chan struct{})
	go func() {
		defer close(watched)
		b.watch(stop)
	}()
	t.Cleanup(func() {
		close(stop)
		<-watched
		b.operator.Close()
		require.NoError(t, cmd.Process.Signal(unix.SIGTERM))
		<-heard
		require.NoError(t, cmd.Wait(), "it survived all of it")
		assert.Less(t, strings.Count(said.String(), "\n"), 50, "nobody can have it fill a log")
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return b
}

func inode(t *testing.T, dir string) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(dir, &st))
	return st.Ino
}

// watch keeps the most memory that the guard had resident.
func (b *besieged) watch(stop <-chan struct{}) {
	for {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(b.pid) + "/status")
		if err != nil {
			return
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
				kib, _ := strconv.ParseInt(fields[1], 10, 64)
				b.resident.Store(max(b.resident.Load(), kib<<10))
			}
		}
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// small expects the guard's memory to have stayed within its budget.
func (b *besieged) small(t *testing.T) {
	t.Helper()
	t.Logf("resident at most %.1f MiB", float64(b.resident.Load())/(1<<20))
	assert.LessOrEqual(t, b.resident.Load(), int64(residentLimit))
}

func (b *besieged) status(t *testing.T) guard.Status {
	t.Helper()
	s, err := b.operator.Status(t.Context())
	require.NoError(t, err)
	return s
}

// refused runs what has to be refused and expects the audit to say so.
func (b *besieged) refused(t *testing.T, cause string, do func()) {
	t.Helper()
	before := b.status(t).Verdicts["refused"]
	do()
	require.Eventually(t, func() bool {
		s := b.status(t)
		return s.Verdicts["refused"] > before && slices.ContainsFunc(s.Audit, func(e guard.Entry) bool { return strings.Contains(e.Cause, cause) })
	}, 20*time.Second, 5*time.Millisecond, "refused, recorded, because of %q", cause)
}

// as connects as a user: a thread gives up what it is, and ends.
func (b *besieged) as(t *testing.T, uid int) net.Conn {
	t.Helper()
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled)
	go func() {
		runtime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			done <- dialled{nil, errno}
			return
		}
		conn, err := net.Dial("unix", b.o.socket)
		done <- dialled{conn, err}
	}()
	d := <-done
	require.NoError(t, d.err)
	t.Cleanup(func() { d.conn.Close() })
	return d.conn
}

func hostile(id uint64) arc.Order {
	return arc.Order{Cgroup: id, Action: arc.ActionMemoryHigh, Parameter: 1, TTL: int64(15 * time.Second), Generation: decided(), Reason: "trust me"}
}

// request is a message of the transport.
func request(t testing.TB, stream uint32, service, method string, payload []byte) []byte {
	t.Helper()
	inner, err := proto.Marshal(wrapperspb.Bytes(payload))
	require.NoError(t, err)
	text, err := proto.Marshal(&ttrpc.Request{Service: service, Method: method, Payload: inner})
	require.NoError(t, err)
	return message(stream, 1, text)
}

func message(stream uint32, kind byte, text []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(text)))
	head = binary.BigEndian.AppendUint32(head, stream)
	return append(append(head, kind, 0), text...)
}

func act(t testing.TB, stream uint32, o map[string]any) []byte {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	return request(t, stream, "reflex.guard.v1.Guard", "Act", text)
}

// cpuTime is what the guard has used.
func (b *besieged) cpuTime(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(b.pid) + "/stat")
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(after)
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += time.Duration(n)
	}
	return ticks * time.Second / 100
}
