// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/store"
)

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A day of outage with an episode every minute, and no end of orders in each: nothing that
// waits grows beyond its bounds, neither in memory nor on disk.
func TestADayOfOutageIsBounded(t *testing.T) {
	const (
		capacity = 4096
		minutes  = 24 * 60
		maxBytes = 2 << 20
	)
	r := newTestReceiver(t)
	refused := errors.New("connection refused")
	r.logs = consumeLogs(t, func(context.Context, plog.Logs) error { return refused })
	r.traces = consumeTraces(t, func(context.Context, ptrace.Traces) error { return refused })
	path := filepath.Join(t.TempDir(), "journal.db")
	journal := episode.NewJournal(capacity)
	file, err := store.Open(store.Settings{
		Path: path, MaxBytes: maxBytes, MaxAge: 48 * time.Hour, Now: func() time.Time { return began }, Boot: func() time.Time { return began }, Logger: zap.NewNop(),
	}, journal)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); file.Run(ctx) }()
	defer func() { cancel(); <-done }()
	start(t, r, journal)

	minute := func(n int) {
		records := story()
		for i := range records {
			records[i].Time = records[i].Time.Add(time.Duration(n) * time.Minute)
			records[i].Episode[8], records[i].Episode[9] = byte(n), byte(n>>8)
		}
		appendAll(journal, records)
		for range 40 { // renewals
			journal.Append(records[3])
		}
	}
	for n := range capacity / 40 { // until the journal is full
		minute(n)
	}
	before := heap()
	for n := range minutes {
		minute(n)
		if n%100 == 0 { // as time would
			require.Eventually(t, func() bool { return file.Stats().Behind == 0 }, deadlineOfDay, time.Millisecond)
		}
	}
	grown := heap() - before
	t.Logf("%d records, the heap grew by %d kB", journal.Stats().Newest, grown>>10)
	assert.Less(t, grown, int64(2<<20))
	assert.LessOrEqual(t, journal.Stats().Held, capacity)
	require.Eventually(t, func() bool { return file.Stats().Behind == 0 }, deadlineOfDay, time.Millisecond)
	stats := file.Stats()
	assert.LessOrEqual(t, stats.Bytes, int64(maxBytes))
	info, err := os.Stat(path)
	require.NoError(t, err)
	t.Logf("%d records in %d kB of file, %d let go", stats.Records, info.Size()>>10, stats.Dropped)
	assert.Less(t, info.Size(), int64(4*maxBytes))
	opened, closed := 0, 0
	for _, rec := range journal.Read(0, nil) {
		switch rec.Kind {
		case episode.Opened:
			opened++
		case episode.Closed:
			closed++
		default:
		}
	}
	assert.Greater(t, opened, 300, "what matters outlives routine: with %d closed", closed)
}

const deadlineOfDay = 30 * time.Second
