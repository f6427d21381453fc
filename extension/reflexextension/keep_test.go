// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/store"
)

// kept is a bench whose journal is kept in a file.
func kept(t *testing.T, file string) *bench {
	t.Helper()
	b := newBench(t, func(c *Config) { enforce(c); c.Journal.File = file })
	b.r.wall = func() time.Time { return time.Unix(0, b.now.Load()) }
	return b
}

func TestTheJournalOutlivesTheCollector(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "journal.db")
	first := kept(t, file)
	first.start()
	for range 50 {
		first.tick()
	}
	first.rate = 50 * mb
	first.alarm.on.Store(true)
	eventually(t, "a lease is granted", func() bool {
		first.tick()
		return strings.Contains(strings.Join(kinds(records(first)), ","), "granted")
	})
	told := records(first)
	first.r.journal.Mark("reflex/logs", 2)
	require.NoError(t, first.r.Shutdown(context.Background()))

	second := kept(t, file)
	second.start()
	all := records(second)
	require.Greater(t, len(all), len(told))
	for i := range told {
		assert.Equal(t, told[i].ID, all[i].ID)
		assert.Equal(t, told[i].Reason, all[i].Reason)
		assert.Equal(t, told[i].Written, all[i].Written)
	}
	last := all[len(all)-1]
	assert.Equal(t, episode.Closed, last.Kind, "nobody else would close it")
	assert.Equal(t, told[0].Episode, last.Episode)
	assert.Equal(t, 2, last.Previous)
	assert.Zero(t, last.Level)
	assert.Equal(t, uint64(2), second.r.journal.Marked("reflex/logs"))
	status := second.r.status()
	require.NotNil(t, status.JournalFile)
	assert.Empty(t, status.JournalFile.Trouble)
	require.NoError(t, second.r.Shutdown(context.Background()))

	third := kept(t, file)
	third.start()
	closed := 0
	for _, r := range records(third) {
		if r.Kind == episode.Closed {
			closed++
		}
	}
	assert.Equal(t, 1, closed, "what is closed is closed once")
}

func TestAJournalFileIsNoReasonNotToStart(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "journal.db")
	require.NoError(t, os.WriteFile(damaged, []byte("nonsense"), 0o600))
	b := kept(t, damaged)
	b.start()
	assert.Equal(t, damaged+store.Damaged, b.r.status().JournalFile.SetAside)
	assert.FileExists(t, damaged+store.Damaged)

	blocked := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	b = kept(t, filepath.Join(blocked, "journal.db"))
	b.start()
	b.r.journal.Append(episode.Record{Kind: episode.Operator})
	assert.NotEmpty(t, b.r.status().JournalFile.Trouble)
	assert.True(t, slices.Contains(kinds(records(b)), "operator"), "it is kept in memory")
	began := time.Now()
	require.NoError(t, b.r.Shutdown(context.Background()))
	assert.Less(t, time.Since(began), keptWithin)
}
