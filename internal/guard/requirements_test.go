// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

func TestTheRemedyForMemoryIsEveryones(t *testing.T) {
	for _, controllers := range []string{"cpu\n", "cpu memory\n"} {
		root := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte(controllers), 0o600))
		for _, r := range requirements(root) {
			if r.Name == "memory controller" {
				assert.False(t, r.Present)
				assert.Equal(t, cgroupfs.MemoryRemedy(root), r.Remedy)
			}
		}
	}
}
