// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// A damaged file may never be closed: what tripped over it holds its locks.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/otelcol-reflex/reflex/internal/episode/store.abandon.func1"))
}

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

func settings(tb testing.TB, path string) Settings {
	tb.Helper()
	return Settings{
		Path: path, MaxBytes: 1 << 20, MaxAge: 24 * time.Hour, Logger: zaptest.NewLogger(tb),
		Now: func() time.Time { return noon }, Boot: func() time.Time { return noon.Add(-time.Hour) },
	}
}

func record(kind episode.Kind, verdict arc.Verdict) episode.Record {
	r := episode.Record{
		Kind: kind, Time: noon, Episode: episode.ID{1, 2}, Source: "ebpf", Level: 2, Previous: 1, Reason: "because",
		Judgement: arc.Judgement{Score: 12.5, Limit: 5, Decided: 7e9}, Cgroup: episode.Cgroup{ID: 42, Path: "/a.service"}, Onset: 5e9, Scheduled: 8e9,
	}
	if kind == episode.Action {
		r.Written = 9e9
		r.Order = &arc.Order{Cgroup: 42, Action: arc.ActionMemoryHigh, Parameter: 1 << 30, TTL: 15e9, Scheduled: 8e9}
		r.Outcome = &arc.Outcome{Verdict: verdict, Value: 1 << 30, Original: arc.Unlimited, Written: 9e9, Deadline: 24e9}
	}
	return r
}

// open opens a store and its journal.
func open(tb testing.TB, s Settings) (*Store, *episode.Journal) {
	tb.Helper()
	j := episode.NewJournal(100)
	st, err := Open(s, j)
	require.NoError(tb, err)
	tb.Cleanup(st.close)
	return st, j
}

func TestTheStoryIsThereAfterAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "journal.db")
	first, j := open(t, settings(t, path))
	j.Append(record(episode.Opened, 0))
	j.Append(record(episode.Action, arc.VerdictGranted))
	j.Append(record(episode.Action, arc.VerdictHeld))
	j.Mark("reflex/logs", 2)
	require.NoError(t, first.commit())
	told := j.Read(0, nil)
	copied := filepath.Join(t.TempDir(), "journal.db") // as the disk has it: nothing is closed
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(copied, text, 0o600))

	_, again := open(t, settings(t, copied))
	assert.Equal(t, told, again.Read(0, nil), "all of them, with what they say")
	assert.Equal(t, uint64(2), again.Marked("reflex/logs"))
	assert.Equal(t, uint64(3), again.Began())
	assert.Equal(t, uint64(4), again.Append(record(episode.Closed, 0)), "identifiers go on")
}

func TestInstantsAreThoseOfTheNewBoot(t *testing.T) {
	s := settings(t, filepath.Join(t.TempDir(), "journal.db"))
	first, j := open(t, s)
	r := record(episode.Action, arc.VerdictGranted)
	r.Onset = 0
	j.Append(r)
	require.NoError(t, first.commit())
	first.close()
	s.Boot = func() time.Time { return noon.Add(-time.Minute) } // booted 59 minutes later
	_, again := open(t, s)
	got := again.Read(0, nil)[0]
	by := -int64(59 * time.Minute)
	assert.Equal(t, r.Scheduled+by, got.Scheduled)
	assert.Equal(t, r.Written+by, got.Written)
	assert.Equal(t, r.TickToKnob(), got.TickToKnob())
	assert.Equal(t, r.Judgement.Decided+by, got.Judgement.Decided)
	assert.Equal(t, r.Order.Scheduled+by, got.Order.Scheduled)
	assert.Equal(t, r.Outcome.Deadline+by, got.Outcome.Deadline)
	assert.Zero(t, got.Onset, "what is unknown stays so")
}

func TestADamagedFileIsSetAside(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "journal.db")
	st, j := open(t, settings(t, whole))
	for range 200 {
		j.Append(record(episode.Opened, 0))
		require.NoError(t, st.commit())
	}
	st.close()
	text, err := os.ReadFile(whole)
	require.NoError(t, err)
	page := os.Getpagesize()
	for name, damage := range map[string]func([]byte) []byte{
		"empty":           func([]byte) []byte { return nil },
		"short":           func(b []byte) []byte { return b[:100] },
		"cut in the head": func(b []byte) []byte { return b[:page+1] },
		"cut behind it":   func(b []byte) []byte { return b[:3*page] },
		"text":            func([]byte) []byte { return []byte("not a journal\n") },
		"zeros":           func(b []byte) []byte { return make([]byte, len(b)) },
		"head": func(b []byte) []byte {
			for i := range 2 * page {
				b[i] ^= 0x5a
			}
			return b
		},
		"body": func(b []byte) []byte {
			for i := 2 * page; i < len(b); i += 7 {
				b[i] ^= 0x5a
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal.db")
			require.NoError(t, os.WriteFile(path, damage(append([]byte(nil), text...)), 0o600))
			st, j := open(t, settings(t, path))
			j.Append(record(episode.Closed, 0))
			require.NoError(t, st.commit())
			st.close()
			_, again := open(t, settings(t, path))
			assert.Len(t, again.Read(0, nil), 1, "and goes on with a new one")
			if name != "empty" { // that is a file which was not begun
				assert.FileExists(t, path+Damaged)
			}
		})
	}
}

func TestDamageThatShowsWhileItIsWrittenCostsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	st, j := open(t, settings(t, path))
	for range 50 {
		j.Append(record(episode.Opened, 0))
	}
	require.NoError(t, st.commit())
	require.NoError(t, os.Truncate(path, 0)) // under its feet
	for range 10 {
		j.Append(record(episode.Opened, 0))
	}
	require.NoError(t, st.commit())
	assert.Equal(t, path+Damaged, st.Stats().SetAside)
	st.close()
	_, again := open(t, settings(t, path))
	assert.Len(t, again.Read(0, nil), 60, "all that the journal still held")
}

// A file that is set aside and has no successor yet costs nothing either: what comes
// later begins with all that the journal holds.
func TestAFileWithoutASuccessorCostsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "journal.db")
	st, j := open(t, settings(t, path))
	for range 50 {
		j.Append(record(episode.Opened, 0))
	}
	require.NoError(t, st.commit())
	require.NoError(t, os.Truncate(path, 0))
	elsewhere := filepath.Dir(path) + ".elsewhere"
	for range 10 {
		j.Append(record(episode.Opened, 0))
	}
	// The rename works, and then there is nowhere to begin another.
	require.Error(t, st.setAsideAnd(func() error {
		require.NoError(t, os.Rename(filepath.Dir(path), elsewhere))
		return os.WriteFile(filepath.Dir(path), nil, 0o600)
	}))
	require.NoError(t, os.Remove(filepath.Dir(path)))
	require.NoError(t, st.commit())
	assert.Equal(t, 60, st.Stats().Records)
	st.close()
	_, again := open(t, settings(t, path))
	assert.Len(t, again.Read(0, nil), 60)
}

// setAsideAnd sets the file aside with something in between.
func (s *Store) setAsideAnd(between func() error) error {
	abandon(s.db)
	s.db = nil
	if err := os.Rename(s.settings.Path, s.settings.Path+Damaged); err != nil {
		return err
	}
	if err := between(); err != nil {
		return err
	}
	return s.setAside(bolterrors.ErrInvalid, Damaged)
}

func TestAFileThatSomebodyUsesIsLeftToThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	st, j := open(t, settings(t, path))
	j.Append(record(episode.Opened, 0))
	require.NoError(t, st.commit())

	other := episode.NewJournal(100)
	second, err := Open(settings(t, path), other)
	require.ErrorContains(t, err, "timeout")
	assert.Contains(t, second.Stats().Trouble, "timeout")
	other.Append(record(episode.Operator, 0))
	st.close()
	require.NoError(t, second.commit(), "once they are done with it")
	second.close()
	assert.FileExists(t, path+Earlier)
	_, theirs := open(t, settings(t, path+Earlier))
	assert.Equal(t, episode.Opened, theirs.Read(0, nil)[0].Kind, "nothing of it is overwritten")
	_, ours := open(t, settings(t, path))
	assert.Equal(t, episode.Operator, ours.Read(0, nil)[0].Kind)
}

func TestAFileIsBoundedAndRoutineGoesFirst(t *testing.T) {
	s := settings(t, filepath.Join(t.TempDir(), "journal.db"))
	s.MaxBytes = 20_000
	st, j := open(t, s)
	j.Append(record(episode.Opened, 0))
	for range 300 {
		j.Append(record(episode.Action, arc.VerdictHeld))
		require.NoError(t, st.commit())
		require.LessOrEqual(t, st.Stats().Bytes, s.MaxBytes)
	}
	j.Append(record(episode.Closed, 0))
	require.NoError(t, st.commit())
	stats := st.Stats()
	assert.Positive(t, stats.Dropped)
	st.close()
	again, restored := open(t, s)
	records := restored.Read(0, nil)
	assert.Equal(t, episode.Opened, records[0].Kind, "the opening outlives what came after it")
	assert.Equal(t, episode.Closed, records[len(records)-1].Kind)
	assert.Len(t, records, stats.Records)
	assert.Equal(t, stats.Bytes, again.Stats().Bytes)
	info, err := os.Stat(s.Path)
	require.NoError(t, err)
	assert.Less(t, info.Size(), int64(400_000))
}

func TestWhatIsOldGoes(t *testing.T) {
	s := settings(t, filepath.Join(t.TempDir(), "journal.db"))
	now := noon
	s.Now = func() time.Time { return now }
	st, j := open(t, s)
	j.Append(record(episode.Opened, 0))
	require.NoError(t, st.commit())
	now = noon.Add(25 * time.Hour)
	late := record(episode.Closed, 0)
	late.Time = now
	j.Append(late)
	require.NoError(t, st.commit())
	assert.Equal(t, 1, st.Stats().Records)
}

func TestReadersAreNeverFurtherThanTheRecords(t *testing.T) {
	s := settings(t, filepath.Join(t.TempDir(), "journal.db"))
	st, j := open(t, s)
	j.Append(record(episode.Opened, 0))
	require.NoError(t, st.commit())
	require.NoError(t, st.db.View(func(tx *bolt.Tx) error {
		assert.Nil(t, tx.Bucket(marks).Get([]byte("logs")))
		return nil
	}))
	j.Mark("logs", 1000) // a reader that is wrong
	require.NoError(t, st.commit())
	st.close()
	_, again := open(t, s)
	assert.Equal(t, uint64(1), again.Marked("logs"))
}

func TestRunFollowsTheJournalAndWritesTheLast(t *testing.T) {
	s := settings(t, filepath.Join(t.TempDir(), "journal.db"))
	st, j := open(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); st.Run(ctx) }()
	j.Append(record(episode.Opened, 0))
	require.Eventually(t, func() bool { return st.Stats().Records == 1 }, 5*time.Second, time.Millisecond)
	j.Append(record(episode.Closed, 0))
	cancel()
	<-done
	_, again := open(t, s)
	assert.Len(t, again.Read(0, nil), 2)
}

// A directory that cannot be written to costs what the journal displaces meanwhile.
func TestWhereNothingCanBeWrittenTheJournalGoesOnInMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	require.NoError(t, os.WriteFile(dir, nil, 0o600)) // a file where a directory should be
	j := episode.NewJournal(100)
	st, err := Open(settings(t, filepath.Join(dir, "journal.db")), j)
	require.Error(t, err)
	j.Append(record(episode.Opened, 0))
	require.Error(t, st.commit())
	assert.Equal(t, uint64(1), st.Stats().Behind)
	require.NoError(t, os.Remove(dir))
	require.NoError(t, st.commit())
	assert.Zero(t, st.Stats().Behind)
	st.close()
}

// The model of a file is the list of what was committed: whatever is written, killed
// and opened again, it is read back in order, and nothing twice.
func TestAFileAgreesWithAList(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		s := settings(t, filepath.Join(dir, strconv.Itoa(n)))
		var model []uint64
		st, j := open(t, s)
		pending := []uint64{}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"append", "append", "commit", "killed", "closed"}).Draw(rt, "what") {
			case "append":
				pending = append(pending, j.Append(record(episode.Action, rapid.SampledFrom([]arc.Verdict{arc.VerdictHeld, arc.VerdictGranted}).Draw(rt, "verdict"))))
			case "commit":
				require.NoError(rt, st.commit())
				model, pending = append(model, pending...), nil
			case "closed":
				require.NoError(rt, st.commit())
				model = append(model, pending...)
				fallthrough
			case "killed":
				st.close()
				pending = nil
				st, j = open(t, s)
			}
		}
		st.close()
		_, j = open(t, s)
		var got []uint64
		for _, r := range j.Read(0, nil) {
			got = append(got, r.ID)
		}
		require.Equal(rt, model, got)
	})
}
