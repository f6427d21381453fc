// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
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
)

// TestMain lets the test binary be its own workload: with REFLEX_TEST_SPIN set
// it keeps a CPU busy for that long and exits.
func TestMain(m *testing.M) {
	if span, err := time.ParseDuration(os.Getenv("REFLEX_TEST_SPIN")); err == nil {
		spin(span)
		return
	}
	os.Exit(m.Run())
}

// spin keeps the first CPU busy, so that several spinners wait for each other.
func spin(span time.Duration) {
	runtime.LockOSThread()
	var first unix.CPUSet
	first.Set(0)
	_ = unix.SchedSetaffinity(0, &first)
	for end := time.Now().Add(span); time.Now().Before(end); {
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

// unable skips the test where kernel or privilege does not suffice, and fails
// it on every other error, or if skipping is forbidden.
func unable(t testing.TB, err error) {
	t.Helper()
	if err == nil {
		return
	}
	lacking := errors.Is(err, ErrUnsupported) || errors.Is(err, os.ErrPermission) && !privileged()
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

func openNode(t testing.TB) *Node {
	t.Helper()
	n, err := OpenNode()
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
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
