// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// distEnv names the directory with otelcol-reflex and reflexguard.
const distEnv = "REFLEX_DIST"

// repository returns the root of the repository.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	return root
}

// distribution returns the directory of the shipped binaries, building them
// where nobody says that they are there.
func distribution(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(distEnv); dir != "" {
		return dir
	}
	command(t, repository(t), "make", "build")
	return filepath.Join(repository(t), "dist")
}

var (
	manifestOutput = regexp.MustCompile(`(?m)^( *output_path:).*$`)
	manifestPath   = regexp.MustCompile(`(?m)^( *path:) *\.\./\.\. *$`)
)

// dropIn builds somebody else's collector, examples/drop-in, as its manifest
// says, outside of the source tree, and returns the binary.
func dropIn(t *testing.T) string {
	t.Helper()
	root := repository(t)
	manifest, err := os.ReadFile(filepath.Join(root, "examples", "drop-in", "builder-config.yaml"))
	require.NoError(t, err)
	dir := t.TempDir()
	manifest = manifestOutput.ReplaceAll(manifest, []byte("${1} "+dir))
	manifest = manifestPath.ReplaceAll(manifest, []byte("${1} "+root))
	path := filepath.Join(t.TempDir(), "builder-config.yaml")
	require.NoError(t, os.WriteFile(path, manifest, 0o600))
	command(t, root, "go", "tool", "-modfile=tools/go.mod", "builder", "--config", path, "--ldflags=-s -w")
	return filepath.Join(dir, "otelcol-custom")
}

// guestTests builds the test binary that runs in the guest.
func guestTests(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "guest.test")
	command(t, ".", "go", "test", "-c", "-o", binary, "./guest")
	return binary
}

// command runs a build step for the guest: static, for Linux on amd64.
func command(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
}
