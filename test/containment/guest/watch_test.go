// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/stage"
)

// group is a directory with the files of a cgroup.
func group(t *testing.T, name string, files map[string]string) *stage.Cgroup {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Mkdir(dir, 0o755))
	for file, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	return &stage.Cgroup{Dir: dir}
}

func write(t *testing.T, c *stage.Cgroup, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(c.Dir, file), []byte(text), 0o600))
}

func TestTheFirstTighteningOfTheGuiltyIsSeenAndAnyChangeOfOthers(t *testing.T) {
	guilty := group(t, "guilty.service", map[string]string{"memory.high": "max\n", "cpu.weight": "100\n"})
	other := group(t, "other.service", map[string]string{"pids.max": "50\n", "cpu.weight": "100\n"})
	w, err := startWatch([]*stage.Cgroup{guilty}, []*stage.Cgroup{other})
	require.NoError(t, err)
	defer w.stop()

	write(t, guilty, "cpu.weight", "200\n") // looser
	write(t, guilty, "memory.high", "4096\n")
	write(t, other, "pids.max", "70\n")
	require.Eventually(t, func() bool {
		tight, touched := w.changes()
		return len(tight) == 1 && len(touched) == 1
	}, 10*time.Second, 5*time.Millisecond)
	write(t, guilty, "memory.high", "2048\n") // the same lease, moving
	write(t, other, "cpu.weight", "1\n")
	require.Eventually(t, func() bool {
		_, touched := w.changes()
		return len(touched) == 2
	}, 10*time.Second, 5*time.Millisecond)
	tight, touched := w.changes()
	require.Len(t, tight, 1)
	assert.Equal(t, "guilty.service memory.high max → 4096", tight[0].String())
	assert.Positive(t, tight[0].at)
	assert.Equal(t, "other.service pids.max 50 → 70", touched[0].String())
	assert.Equal(t, "other.service cpu.weight 100 → 1", touched[1].String())
}

func TestALimitThatStaysChangedIsADifference(t *testing.T) {
	one := group(t, "one.service", map[string]string{"memory.max": "max\n", "pids.max": "5\n", "memory.current": "1\n"})
	gone := group(t, "gone.service", map[string]string{"memory.max": "max\n"})
	before := takeSnapshot([]*stage.Cgroup{one, gone})
	assert.Empty(t, before.differences(takeSnapshot([]*stage.Cgroup{one, gone})))

	write(t, one, "memory.max", "1000\n")
	write(t, one, "memory.current", "2\n") // no limit
	require.NoError(t, os.RemoveAll(gone.Dir))
	assert.Equal(t, []string{"one.service memory.max max → 1000"}, before.differences(takeSnapshot([]*stage.Cgroup{one})))
}
