// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

func TestAKnobHoldsANumberOrMax(t *testing.T) {
	for text, want := range map[string]uint64{
		"max\n": recording.Unlimited, "0\n": 0, "1310720\n": 1310720, "9223372036854771712\n": recording.Unlimited,
	} {
		got, err := ParseNumber([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
	_, err := ParseNumber([]byte("many"))
	assert.Error(t, err)
}

func TestEventsOfACgroupAreReadByName(t *testing.T) {
	c := Cgroup{Dir: t.TempDir()}
	text := "low 0\nhigh 12\nmax 3\noom 1\noom_kill 4\noom_group_kill 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(c.Dir, "memory.events"), []byte(text), 0o600))
	got, err := c.Event("oom_kill")
	require.NoError(t, err)
	assert.Equal(t, uint64(4), got)
	_, err = c.Event("kill")
	assert.ErrorContains(t, err, "has no kill")
}

// A directory that is no cgroup has no knobs, and writing must not make them.
func TestOnlyKnobsMarkedOptionalMayBeMissing(t *testing.T) {
	parent := t.TempDir()
	c, err := NewCgroup(parent, "a", [2]string{"memory.swap.max?", "0"})
	require.NoError(t, err)
	entries, err := os.ReadDir(c.Dir)
	require.NoError(t, err)
	assert.Empty(t, entries)

	_, err = NewCgroup(parent, "b", [2]string{"memory.max", "0"})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.NoDirExists(t, filepath.Join(parent, "b"), "what could not be set up is removed")
}

func TestACgroupIsRemovedWithThoseBelowIt(t *testing.T) {
	c := Cgroup{Dir: filepath.Join(t.TempDir(), "guard")}
	require.NoError(t, os.MkdirAll(filepath.Join(c.Dir, "supervisor", "deep"), 0o700))
	require.NoError(t, c.Remove())
	assert.NoDirExists(t, c.Dir)
	require.NoError(t, c.Remove(), "what is gone is removed")
}
