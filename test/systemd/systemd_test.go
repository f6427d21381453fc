// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/vmtest"
)

const root = "../.."

func TestWithSystemd(t *testing.T) {
	dist := os.Getenv("REFLEX_DIST")
	if dist == "" {
		dist = filepath.Join(root, "dist")
	}
	require.NoError(t, vmtest.Built(dist, "otelcol-reflex", "reflexguard", "reflexctl"))
	guest := filepath.Join(t.TempDir(), "guest.test")
	build := exec.Command("go", "test", "-c", "-o", guest, "./guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	// As distributions/otelcol-reflex/README.md has it.
	files := []vmtest.File{
		{Guest: "/bin/guest.test", Host: guest},
		{Guest: "/etc/otelcol-reflex/config.yaml", Host: filepath.Join(root, "distributions/otelcol-reflex/config.yaml"), Mode: 0o644},
		{Guest: "/usr/lib/sysusers.d/otelcol-reflex.conf", Host: filepath.Join(root, "distributions/otelcol-reflex/otelcol-reflex.sysusers"), Mode: 0o644},
		{Guest: "/etc/otelcol-reflex/environment", Data: []byte("REFLEX_OTLP_ENDPOINT=127.0.0.1:4317\n")},
	}
	for _, name := range []string{"otelcol-reflex", "reflexguard", "reflexctl"} {
		files = append(files, vmtest.File{Guest: "/usr/bin/" + name, Host: filepath.Join(dist, name), Mode: 0o755})
	}
	units, err := filepath.Glob(filepath.Join(root, "distributions/otelcol-reflex/*.s[el][ri][vc][ie]*"))
	require.NoError(t, err)
	for _, unit := range units {
		files = append(files, vmtest.File{Guest: "/etc/systemd/system/" + filepath.Base(unit), Host: unit, Mode: 0o644})
	}
	require.Len(t, units, 4, "reflex.slice, the guard, its mirror, and the collector: %v", units)
	for name, kernel := range map[string]string{"252": "6.1", "257": "6.12"} { // of bookworm and trixie
		t.Run(name, func(t *testing.T) {
			k, err := vmtest.Fetch(t.Context(), kernel, os.Stderr)
			vmtest.SkipUnlessRequired(t, err)
			systemd, err := vmtest.FetchSystemd(t.Context(), kernel, os.Stderr)
			vmtest.SkipUnlessRequired(t, err)
			var output, console bytes.Buffer
			m := &vmtest.Machine{
				Kernel: k, Systemd: systemd, Files: files, Timeout: 16 * time.Minute,
				Command: []string{"/bin/guest.test", "-test.v", "-test.timeout=14m"},
				Env:     []string{"REFLEX_SYSTEMD=" + name},
				Output:  &output, Console: &console,
			}
			exit, err := m.Run(t.Context(), "")
			t.Logf("%s", output.Bytes())
			vmtest.SkipUnlessRequired(t, err)
			require.Zero(t, exit, "%s", console.Bytes())
			require.Equal(t, 9, strings.Count(vmtest.LastBoot(output.String()), "\n--- PASS: "), "and nothing was skipped")
		})
	}
}
