// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build backends

package backends

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

func TestAnEpisodeIsInEveryStore(t *testing.T) {
	dist, stores, out := os.Getenv("REFLEX_DIST"), os.Getenv("REFLEX_STORES"), os.Getenv("REFLEX_BACKENDS_OUT")
	require.NotEmpty(t, dist, "make test-backends sets it")
	require.NotEmpty(t, stores)
	kernel, err := vmtest.Fetch(t.Context(), "6.12", os.Stderr)
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), "guest.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	text, err := build.CombinedOutput()
	require.NoError(t, err, "%s", text)
	files := []vmtest.File{{Guest: "/bin/guest.test", Host: binary, Mode: 0o755}}
	for _, name := range []string{"otelcol-reflex", "reflexguard"} {
		files = append(files, vmtest.File{Guest: "/bin/" + name, Host: filepath.Join(dist, name), Mode: 0o755})
	}
	for guest, name := range map[string]string{"victoria-metrics": "victoria-metrics", "victoria-logs": "victoria-logs", "jaeger": "all-in-one"} {
		files = append(files, vmtest.File{Guest: "/bin/" + guest, Host: filepath.Join(stores, name), Mode: 0o755})
	}
	var output bytes.Buffer
	m := &vmtest.Machine{
		Kernel: kernel, Files: files, MemoryMiB: 6144,
		Command: []string{"/bin/guest.test", "-test.v", "-test.timeout=12m"}, Env: []string{"REFLEX_BACKENDS=1"},
		Output: io.MultiWriter(&output, os.Stderr), Timeout: 13 * time.Minute,
	}
	exit, err := m.Run(t.Context(), out)
	require.NoError(t, err)
	require.Zero(t, exit)
	require.Contains(t, vmtest.LastBoot(output.String()), "--- PASS: TestStores")
}
