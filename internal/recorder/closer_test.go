// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// tree sweeps the directories that are there.
type tree []string

func (t tree) Sweep(into *arc.Sweep) error {
	into.Reset()
	for _, dir := range t {
		var stat unix.Stat_t
		if unix.Stat(dir, &stat) == nil {
			into.Append(stat.Ino, 0)
		}
	}
	return nil
}

func TestACloserSweepReadsMemoryStatOfEveryCgroup(t *testing.T) {
	root := t.TempDir()
	var dirs tree
	for name, text := range map[string]string{"a": "anon 100\nfile 7\nshmem 5\n", "b": "anon 200\nfile 0\nshmem 0\n", "c": ""} {
		dir := filepath.Join(root, name)
		require.NoError(t, os.Mkdir(dir, 0o755))
		if text != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.stat"), []byte(text), 0o644))
		}
		dirs = append(dirs, dir)
	}
	open, err := cgroupfs.OpenRoot(root)
	require.NoError(t, err)
	defer open.Close()
	sweeps, end := LookCloser(dirs, open)
	defer end()

	var sweep arc.Sweep
	look := func() (anon map[uint64]uint64) {
		require.NoError(t, sweeps.Sweep(&sweep))
		anon = map[uint64]uint64{}
		for row := range sweep.ID {
			if v := sweep.Value(arc.CgroupMemoryAnon, row); v != arc.Absent {
				anon[v] = sweep.Value(arc.CgroupMemoryUnreclaimable, row)
			}
		}
		return anon
	}
	assert.Equal(t, map[uint64]uint64{100: 105, 200: 200}, look())
	require.NoError(t, os.WriteFile(filepath.Join(root, "a", "memory.stat"), []byte("anon 300\n"), 0o644))
	assert.Equal(t, map[uint64]uint64{300: 300, 200: 200}, look(), "read again")

	c := sweeps.(*closer)
	assert.Len(t, c.open, 3)
	require.NoError(t, os.RemoveAll(filepath.Join(root, "b")))
	assert.Equal(t, map[uint64]uint64{300: 300}, look())
	assert.Len(t, c.open, 2, "what is gone is closed")
	assert.Len(t, c.seen, 2)
}
