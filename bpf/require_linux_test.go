// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// TestMain lets the test binary be its own workload: with REFLEX_TEST_SPIN set
// it uses that much CPU time and exits, and so on.
func TestMain(m *testing.M) {
	if span, err := time.ParseDuration(os.Getenv("REFLEX_TEST_SPIN")); err == nil {
		spin(span)
		return
	}
	if os.Getenv("REFLEX_TEST_PROBE") != "" {
		_, node := OpenNode()
		_ = json.NewEncoder(os.Stdout).Encode(probed{Probe(), errors.Is(node, os.ErrPermission), errors.Is(node, ErrUnsupported)})
		return
	}
	if os.Getenv("REFLEX_TEST_EXHAUST") == "child" {
		exhaust()
		return
	}
	if directory := os.Getenv("REFLEX_TEST_VFORK"); directory != "" {
		vforkInto(directory)
		return
	}
	if plan := os.Getenv("REFLEX_TEST_TRAFFIC"); plan != "" {
		makeTraffic(plan)
		return
	}
	if os.Getenv("REFLEX_TEST_TALK") != "" {
		if err := talk(); err != nil {
			fmt.Println(err)
		}
		return
	}
	if root := os.Getenv("REFLEX_TEST_COUNT"); root != "" {
		countUntilKilled(root)
		return
	}
	for _, what := range []string{"REFLEX_TEST_HOLD", "REFLEX_TEST_THRASH"} {
		if mebibytes, err := strconv.Atoi(os.Getenv(what)); err == nil {
			holdMemory(mebibytes, what == "REFLEX_TEST_THRASH")
			return
		}
	}
	os.Exit(m.Run())
}

// probed is what a process finds.
type probed struct {
	Requirements []Requirement
	Permission   bool // OpenNode fails for want of privilege
	Unsupported  bool // OpenNode fails for want of a kernel
}

// exhaust takes memory until the kernel kills this process.
func exhaust() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	for {
		memory := make([]byte, 16<<20)
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = 1
		}
		held = append(held, memory)
	}
}

var held [][]byte

// spin uses CPU time of the first CPU, so that several spinners wait for each
// other. How long that takes depends on what else runs.
func spin(span time.Duration) {
	runtime.LockOSThread()
	var first unix.CPUSet
	first.Set(0)
	_ = unix.SchedSetaffinity(0, &first)
	var used unix.Rusage
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && used.Utime.Nano()+used.Stime.Nano() < span.Nanoseconds(); {
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &used)
	}
}

// startSpinner runs this binary as a spinner, in the cgroup open as directory
// if it is not negative.
func startSpinner(t testing.TB, span time.Duration, directory int) *exec.Cmd {
	t.Helper()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), "REFLEX_TEST_SPIN="+span.String(), "GOMAXPROCS=1")
	if directory >= 0 {
		command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: directory}
	}
	require.NoError(t, command.Start())
	return command
}

// stop ends a spinner early.
func stop(t testing.TB, command *exec.Cmd) {
	t.Helper()
	require.NoError(t, command.Process.Kill())
	require.ErrorContains(t, command.Wait(), "killed")
}

// unable skips the test where kernel or privilege does not suffice, and fails
// it on every other error, or if skipping is forbidden.
func unable(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	lacking := errors.Is(err, ErrUnsupported) || errors.Is(err, cgroupfs.ErrNoCgroup2) || errors.Is(err, os.ErrPermission) && !privileged()
	if !lacking || mustRun() {
		t.Fatal(err)
	}
	t.Skip(err)
}

// mustRun forbids skipping for want of kernel or privilege.
func mustRun() bool {
	must, _ := strconv.ParseBool(os.Getenv("REFLEX_REQUIRE_BPF"))
	return must
}

// absent is a node that nothing has been read into.
func absent() *arc.Node {
	var n arc.Node
	for i := range n {
		n[i] = math.NaN()
	}
	return &n
}

// closed is when a test last closed a node.
var closed time.Time

// leaving is how long to wait for its programs to have left their tracepoints. The
// kernel takes them out later, and while it does others on the same tracepoint
// miss events for some milliseconds (in 2 of 150 tries, Linux 6.18).
const leaving = 100 * time.Millisecond

func openNode(t testing.TB) *Node {
	t.Helper()
	n, err := OpenNode()
	unable(t, err)
	t.Cleanup(func() {
		require.NoError(t, n.Close())
		closed = time.Now()
	})
	time.Sleep(time.Until(closed.Add(leaving)))
	return n
}

// needSampler skips the test on a kernel that does not give what the node program
// needs, and of which only events are told.
func needSampler(t testing.TB, n *Node) {
	t.Helper()
	if n.run.program != 0 {
		return
	}
	if mustRun() {
		t.Fatalf("the node program is not there: %+v", n.Missing())
	}
	t.Skipf("the node program is not there: %+v", n.Missing())
}

// read reads the node and skips the test if field is not among what it gives.
func read(t testing.TB, n *Node, field arc.NodeField) float64 {
	t.Helper()
	into := absent()
	require.NoError(t, n.Read(into))
	if math.IsNaN(into[field]) {
		if mustRun() {
			t.Fatalf("%s is not read: %+v", arc.NodeFields[field].Name, n.Missing())
		}
		t.Skipf("%s is not read: %+v", arc.NodeFields[field].Name, n.Missing())
	}
	return into[field]
}
