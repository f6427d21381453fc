// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDisksAreSparseBoundedAndRemoved(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	m := Machine{Disks: []Disk{{MiB: 64, BytesPerSecond: 1000}, {MiB: 1}}}
	paths, remove, err := m.makeDisks()
	require.NoError(t, err)
	require.Len(t, paths, 2)
	info, err := os.Stat(paths[0])
	require.NoError(t, err)
	assert.EqualValues(t, 64<<20, info.Size())

	arguments := m.diskArguments(paths)
	require.Len(t, arguments, 8)
	assert.Contains(t, arguments[1], "file="+paths[0])
	assert.Contains(t, arguments[1], "throttling.bps-total=1000")
	assert.NotContains(t, arguments[5], "throttling")
	assert.Equal(t, "virtio-blk-pci,drive=disk1", arguments[7])

	require.NoError(t, remove())
	for _, path := range paths {
		assert.NoFileExists(t, path)
	}
}
