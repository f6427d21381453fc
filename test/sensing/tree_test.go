// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// needCgroups skips where no cgroup can be made, unless the environment forbids
// it.
func needCgroups(t *testing.T) string {
	t.Helper()
	mount, err := cgroupfs.FindRoot()
	if err == nil {
		probe := filepath.Join(mount, "reflex-bench-probe")
		if err = os.Mkdir(probe, 0o755); err == nil {
			require.NoError(t, os.Remove(probe))
			return mount
		}
	}
	if os.Getenv("REFLEX_REQUIRE_BPF") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

func TestATreeHasAsManyCgroupsAsWantedAndLeavesNone(t *testing.T) {
	mount := needCgroups(t)
	for _, n := range []int{1, 2, 10, 60} {
		tree, err := Grow(mount, n)
		require.NoError(t, err)
		assert.Len(t, tree.Paths, n)
		for _, path := range tree.Paths {
			assert.True(t, strings.HasPrefix(path, tree.Root), path)
			assert.DirExists(t, path)
		}
		require.NoError(t, tree.Populate())
		assert.NotEmpty(t, tree.pids)
		root := tree.Root
		require.NoError(t, tree.Remove())
		require.NoError(t, tree.Remove())
		assert.NoDirExists(t, root)
	}
}

func TestATreeThatCannotBeMadeLeavesNothing(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "nowhere")
	_, err := Grow(parent, 3)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.NoDirExists(t, parent)
}

func TestAnInterruptedSweepPutsItsTreeAway(t *testing.T) {
	mount := needCgroups(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := measureSweep(ctx, mount, 10, 3)
	require.ErrorIs(t, err, context.Canceled)
	assert.NoDirExists(t, filepath.Join(mount, treeName()))
}

func TestSmallTreesAreRepeated(t *testing.T) {
	assert.Equal(t, 200, calls(10, 200))
	assert.Equal(t, 200, calls(100, 200))
	assert.Equal(t, 20, calls(1000, 200))
	assert.Equal(t, 4, calls(5000, 200))
	assert.Equal(t, 1, calls(5000, 20))
}
