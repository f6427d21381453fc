// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBPFProgramsOnDebianKernels runs the BPF package's tests, as they are, on
// each kernel of the matrix: what passes on the kernel that happens to run here
// need not load on another.
func TestBPFProgramsOnDebianKernels(t *testing.T) {
	binary, cat := compileTests(t, "../..", "./bpf"), buildGuest(t, "./internal/guestprobe")
	for _, name := range kernels {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			m := &Machine{
				Kernel:  fetch(t, name),
				Files:   []File{{Guest: "/bin/tests", Host: binary}, {Guest: "/bin/cat", Host: cat}},
				Command: []string{"/bin/tests", "-test.v", "-test.timeout=290s"},
				// The machine is the test's own: its memory may run out.
				Env:    []string{"REFLEX_REQUIRE_BPF=1", "REFLEX_TEST_EXHAUST=1"},
				Output: &output, Timeout: 5 * time.Minute,
				Modules: []string{"null_blk"}, // what is swapped to
			}
			exit, err := m.Run(context.Background(), "")
			require.NoError(t, err, "%s", output.String())
			assert.Zero(t, exit)
			for _, test := range []string{
				"TestNodeSeesMemoryRunOut",
				"TestSweepCountsTasks", "TestSweepSeesAQuotaUsedUp", "TestSweepSeesSwap", "TestSweepSeesStallsOnMemoryAndIO", // skipped without the controllers
			} {
				assert.Contains(t, output.String(), "--- PASS: "+test)
			}
			t.Log(output.String())
		})
	}
}

// TestCgroupFilesOnDebianKernels compares what is read of a cgroup's files with
// what a load in it is known to do.
func TestCgroupFilesOnDebianKernels(t *testing.T) {
	binary := compileTests(t, "../..", "./receiver/ebpfreceiver/internal/cgroupstat")
	for _, name := range kernels {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			m := &Machine{
				Kernel:  fetch(t, name),
				Files:   []File{{Guest: "/bin/tests", Host: binary}},
				Command: []string{"/bin/tests", "-test.v", "-test.run=^TestTheKernelCountsWhatTheLoadDoes$", "-test.timeout=60s"},
				Modules: []string{"null_blk"},
				Env:     []string{"REFLEX_TEST_DISK=/dev/nullb0"},
				Output:  &output, Timeout: 2 * time.Minute,
			}
			exit, err := m.Run(context.Background(), "")
			require.NoError(t, err, "%s", output.String())
			assert.Zero(t, exit, "%s", output.String())
			assert.Contains(t, output.String(), "--- PASS: TestTheKernelCountsWhatTheLoadDoes", "%s", output.String())
			t.Log(output.String())
		})
	}
}

// TestGuardOnDebianKernels runs the guard's test of a real lease, which needs
// cgroup v2 with the memory controller and skips where there is none.
func TestGuardOnDebianKernels(t *testing.T) {
	binary := compileTests(t, "../..", "./internal/guard")
	for _, name := range kernels {
		t.Run(name, func(t *testing.T) {
			var output bytes.Buffer
			m := &Machine{
				Kernel:  fetch(t, name),
				Files:   []File{{Guest: "/bin/tests", Host: binary}},
				Command: []string{"/bin/tests", "-test.v", "-test.run=^TestALeaseOnTheKernel$", "-test.timeout=60s"},
				Output:  &output, Timeout: 2 * time.Minute,
			}
			exit, err := m.Run(context.Background(), "")
			require.NoError(t, err, "%s", output.String())
			assert.Zero(t, exit, "%s", output.String())
			assert.Contains(t, output.String(), "--- PASS: TestALeaseOnTheKernel", "%s", output.String())
		})
	}
}

// compileTests builds the test binary of a package of the module in dir.
func compileTests(t *testing.T, dir, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
	cmd := exec.Command("go", "test", "-c", "-o", binary, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	if _, err := os.Stat(binary); errors.Is(err, os.ErrNotExist) {
		t.Skipf("%s has no tests", pkg) // go test -c writes nothing then
	}
	return binary
}
