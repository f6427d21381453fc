// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package distribution

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

// binary returns the path of a shipped binary: where REFLEX_DIST says, or in the
// repository's dist/. `make test-vm` builds it first.
func binary(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("REFLEX_DIST")
	if dir == "" {
		dir = filepath.Join(root, "dist")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	require.NoError(t, err)
	require.FileExists(t, path, "run make build first")
	return path
}

func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(binary(t, name), args...).CombinedOutput()
	return string(out), err
}

func TestComponentsAreListed(t *testing.T) {
	out, err := run(t, "otelcol-reflex", "components")
	require.NoError(t, err, out)
	var listed map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(out), &listed))
	for _, want := range []struct{ kind, name string }{
		{"receivers", "ebpf"},
		{"receivers", "reflex"},
		{"processors", "mahalanobis"},
		{"extensions", "reflex"},
		{"extensions", "file_storage"},
	} {
		var names []string
		for _, c := range listed[want.kind].([]any) {
			names = append(names, c.(map[string]any)["name"].(string))
		}
		assert.Contains(t, names, want.name, want.kind)
	}
}

func TestDocumentedConfigurationsAreValid(t *testing.T) {
	for _, config := range []string{
		"distributions/otelcol-reflex/config.yaml",
	} {
		t.Run(config, func(t *testing.T) {
			out, err := run(t, "otelcol-reflex", "validate", "--config", filepath.Join(root, config))
			require.NoError(t, err, out)
		})
	}
}

// What the shipped configuration shows as a comment is valid when it is none.
func TestTheCommentedStorageIsValid(t *testing.T) {
	shipped, err := os.ReadFile(filepath.Join(root, "distributions/otelcol-reflex/config.yaml"))
	require.NoError(t, err)
	config := string(shipped)
	for _, change := range []struct{ from, to string }{
		{"  # file_storage:", "  file_storage:"},
		{"  #   directory: /var/lib/reflex/storage", "    directory: " + t.TempDir()},
		{"  #   create_directory:", "    create_directory:"},
		{"    # storage:", "    storage:"},
		{"extensions: [reflex, health_check]", "extensions: [reflex, health_check, file_storage]"},
	} {
		require.Equal(t, 1, strings.Count(config, change.from), change.from)
		config = strings.Replace(config, change.from, change.to, 1)
	}
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	out, err := run(t, "otelcol-reflex", "validate", "--config", path)
	require.NoError(t, err, out)
}

func TestBrokenConfigurationsAreRefusedNamingTheKey(t *testing.T) {
	shipped := filepath.Join(root, "distributions/otelcol-reflex/config.yaml")
	for _, broken := range []struct{ set, key string }{
		{"extensions::reflex::mode: attack", "mode"},
		{"extensions::reflex::guard: \"\"", "guard"},
		{"extensions::reflex::status::endpoint: 0.0.0.0:13134", "status::endpoint"},
		{"extensions::reflex::lease::ttl: 10m", "lease::ttl"},
		{"extensions::reflex::lease::renew: 20s", "lease::renew"},
		{"extensions::reflex::policy::horizon: -1s", "policy::horizon"},
		{"extensions::reflex::unheard_of: 1", "unheard_of"},
		{"receivers::ebpf::interval: 1ms", "interval"},
		{"receivers::ebpf::top_n: -1", "top_n"},
		{"receivers::ebpf::cgroup_root: relative/path", "cgroup_root"},
		{"processors::mahalanobis::preset: magic", "preset"},
		{"processors::mahalanobis::max_streams: 0", "max_streams"},
		{"processors::mahalanobis::checkpoint_interval: 0s", "checkpoint_interval"},
		{"receivers::reflex::metrics_interval: 0s", "metrics_interval"},
	} {
		t.Run(broken.set, func(t *testing.T) {
			out, err := run(t, "otelcol-reflex", "validate", "--config", shipped, "--config", "yaml:"+broken.set)
			require.Error(t, err, "accepted")
			assert.Contains(t, out, broken.key)
		})
	}
}

func TestCommandsSayTheirVersionAndHelp(t *testing.T) {
	for _, name := range []string{"reflexguard", "reflexctl"} {
		out, err := run(t, name, "version")
		require.NoError(t, err, out)
		assert.NotEmpty(t, out)
		out, err = run(t, name, "--help")
		require.NoError(t, err, out)
		assert.Contains(t, out, "Usage:")
	}
}
