// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kernels are those of the matrix.
var kernels = []string{"5.10", "6.1", "6.12", "7"}

// buildGuest builds a main package of this module for the guest.
func buildGuest(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

// fetch returns a kernel or ends the test.
func fetch(t *testing.T, name string) Kernel {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		SkipUnlessRequired(t, ErrNoQEMU)
	}
	k, err := Fetch(context.Background(), name, os.Stderr)
	SkipUnlessRequired(t, err)
	return k
}

func TestMachineIsACleanCgroupV2Host(t *testing.T) {
	probe := buildGuest(t, "./internal/guestprobe")
	for _, name := range kernels {
		t.Run(name, func(t *testing.T) {
			k := fetch(t, name)
			var output, console bytes.Buffer
			m := &Machine{
				Kernel:  k,
				Files:   []File{{Guest: "/bin/guestprobe", Host: probe, Mode: 0o755}, {Guest: "/data/given", Data: []byte("by the host")}},
				Command: []string{"/bin/guestprobe", "describe", "7"},
				Env:     []string{"VMTEST_ENV=passed"},
				Output:  &output, Console: &console, Timeout: time.Minute,
			}
			out := filepath.Join(t.TempDir(), "artefacts")
			began := time.Now()
			exit, err := m.Run(context.Background(), out)
			require.NoError(t, err, "%s", console.String())
			t.Logf("%.1f s on %s", time.Since(began).Seconds(), k.Release)
			assert.Equal(t, 7, exit, "%s", output.String())

			lines := output.String()
			for _, want := range []string{
				"release: " + k.Release + "\n", "given: by the host\n", "env: passed\n", "high: 104857600\n", "cgroup: 0::/\n",
			} {
				assert.Contains(t, lines, want)
			}
			for _, controller := range []string{"memory", "cpu", "io", "pids"} {
				assert.Regexp(t, `(?m)^controllers: .*\b`+controller+`\b`, lines)
			}
			got, err := os.ReadFile(filepath.Join(out, "nested", "binary"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(pattern(3<<20), got), "artefacts come back unchanged")
		})
	}
}

func TestMachineOutputIsBinaryCleanAndComplete(t *testing.T) {
	var output bytes.Buffer
	m := &Machine{
		Kernel:  fetch(t, "6.12"),
		Files:   []File{{Guest: "/bin/guestprobe", Host: buildGuest(t, "./internal/guestprobe")}},
		Command: []string{"/bin/guestprobe", "flood", "0"}, Output: &output, Timeout: time.Minute,
	}
	exit, err := m.Run(context.Background(), "")
	require.NoError(t, err)
	assert.Zero(t, exit)
	assert.Equal(t, 8<<20, output.Len())
	assert.True(t, bytes.Equal(pattern(8<<20), output.Bytes()))
}

func TestMachineThatTakesTooLongIsStoppedAndReports(t *testing.T) {
	var output bytes.Buffer
	m := &Machine{
		Kernel:  fetch(t, "6.12"),
		Files:   []File{{Guest: "/bin/guestprobe", Host: buildGuest(t, "./internal/guestprobe")}},
		Command: []string{"/bin/guestprobe", "hang", "0"}, Output: &output, Timeout: 12 * time.Second,
	}
	_, err := m.Run(context.Background(), "")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Contains(t, output.String(), "hanging")
	assert.Contains(t, output.String(), "SIGQUIT", "the guest's goroutines are shown")
}

func TestMachineThatFaultsIsBootedOnceMore(t *testing.T) {
	var output bytes.Buffer
	m := &Machine{
		Kernel:  fetch(t, "6.1"),
		Files:   []File{{Guest: "/bin/guestprobe", Host: buildGuest(t, "./internal/guestprobe")}},
		Command: []string{"/bin/guestprobe", "fault", "0"}, Output: &output, Timeout: time.Minute,
	}
	_, err := m.Run(context.Background(), "")
	require.ErrorIs(t, err, ErrEmulator)
	assert.Equal(t, 1, strings.Count(output.String(), "booting once more"), "%s", output.String())
}

func TestMachineThatPanicsIsNotBootedAgain(t *testing.T) {
	var output bytes.Buffer
	m := &Machine{
		Kernel:  fetch(t, "6.12"),
		Files:   []File{{Guest: "/bin/guestprobe", Host: buildGuest(t, "./internal/guestprobe")}},
		Command: []string{"/bin/guestprobe", "panic", "0"}, Output: &output, Timeout: time.Minute,
	}
	_, err := m.Run(context.Background(), "")
	require.ErrorContains(t, err, "Kernel panic - not syncing: sysrq triggered crash")
	require.NotErrorIs(t, err, ErrEmulator)
	assert.Empty(t, output.String())
}

func TestMachineWhoseCommandIsAbsentSaysSo(t *testing.T) {
	m := &Machine{Kernel: fetch(t, "6.12"), Command: []string{"/bin/absent"}, Timeout: time.Minute}
	_, err := m.Run(context.Background(), "")
	assert.ErrorContains(t, err, "run /bin/absent: no such file or directory")
}

func TestFetchNamesABadKernelPath(t *testing.T) {
	t.Setenv(KernelEnv, "/no/such/vmlinuz")
	_, err := Fetch(context.Background(), "6.12", nil)
	require.ErrorContains(t, err, "/no/such/vmlinuz")
	assert.NotErrorIs(t, err, ErrNoKernel, "a mistake is not an absence: tests must not skip on it")

	text := filepath.Join(t.TempDir(), "text")
	require.NoError(t, os.WriteFile(text, []byte(strings.Repeat("no kernel ", 200)), 0o600))
	t.Setenv(KernelEnv, text)
	_, err = Fetch(context.Background(), "6.12", nil)
	assert.ErrorIs(t, err, errNotBzImage)
}

func TestFetchRefusesAnUnknownName(t *testing.T) {
	t.Setenv(KernelEnv, "")
	_, err := Fetch(context.Background(), "2.4", nil)
	assert.ErrorIs(t, err, ErrNoKernel)
	assert.ErrorContains(t, err, "2.4")
}

func TestRunWithoutQEMUNamesThePackage(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := (&Machine{Command: []string{"/init"}}).Run(context.Background(), "")
	require.ErrorIs(t, err, ErrNoQEMU)
	assert.ErrorContains(t, err, "apt-get install qemu-system-x86")
}

// pattern is guestprobe's binary content.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}
