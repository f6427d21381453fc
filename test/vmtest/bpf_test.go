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
				Command: []string{"/bin/tests", "-test.v", "-test.timeout=150s"},
				Env:     []string{"REFLEX_REQUIRE_BPF=1"},
				Output:  &output, Timeout: 3 * time.Minute,
			}
			exit, err := m.Run(context.Background(), "")
			require.NoError(t, err, "%s", output.String())
			assert.Zero(t, exit)
			t.Log(output.String())
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
