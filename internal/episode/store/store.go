// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

const (
	// lockWithin is how long a file that somebody else uses is waited for: a
	// collector that is started again may overlap with the one before.
	lockWithin = 2 * time.Second
	// abandonAfter is how long closing a damaged file may take.
	abandonAfter = time.Second
	// batch bounds the records of one transaction.
	batch = 256
	// firstRetry and lastRetry space attempts after an error.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// Damaged follows the name of a file that was damaged and set aside, Earlier of one
	// that could not be opened at first, when a journal had begun that knew nothing of it.
	// There is one of each at most: the newest.
	Damaged = ".damaged"
	Earlier = ".earlier"
)

// The buckets of a file.
var (
	vital   = []byte("records")
	routine = []byte("routine")
	marks   = []byte("marks")
	meta    = []byte("meta")
	keyLast = []byte("last")
	buckets = [][]byte{vital, routine, marks, meta}
)

// Settings say where a journal is kept, and how much of it.
type Settings struct {
	// Path is the file.
	Path string
	// MaxBytes bounds the records, and MaxAge how old they become. The file is up to
	// about twice as large, and never smaller than it was.
	MaxBytes int64
	MaxAge   time.Duration
	// Now is the wall clock, Boot the wall clock at the zero of CLOCK_BOOTTIME.
	Now, Boot func() time.Time
	Logger    *zap.Logger
}

// Store is a file. Run is for one goroutine, Stats for any.
type Store struct {
	settings Settings
	journal  *episode.Journal
	db       *bolt.DB // nil while there is none
	written  uint64   // ID of the newest record that is in the file
	marked   map[string]uint64

	mu    sync.Mutex
	stats episode.FileStats
}

// Open opens or makes the file, and has the journal take up what it holds. It
// returns an error where the file cannot be used now; Run goes on trying to.
// The journal must not have been used yet.
func Open(s Settings, j *episode.Journal) (*Store, error) {
	st := &Store{settings: s, journal: j, marked: map[string]uint64{}, stats: episode.FileStats{Path: s.Path}}
	err := st.open()
	if err != nil {
		st.trouble(err)
		return st, err
	}
	return st, st.restore()
}

// open opens the file, setting a damaged one aside.
func (s *Store) open() error {
	if err := os.MkdirAll(filepath.Dir(s.settings.Path), 0o700); err != nil {
		return fmt.Errorf("journal file: %w", err)
	}
	db, err := load(s.settings.Path)
	switch {
	case err == nil:
		s.db = db
		return nil
	case damage(err):
		return s.setAside(err, Damaged)
	}
	return fmt.Errorf("journal file %s: %w", s.settings.Path, err)
}

// openLate is open where the journal has begun without what the file holds: their IDs
// are the same.
func (s *Store) openLate() error {
	if err := s.open(); err != nil {
		return err
	}
	var last []byte
	if err := s.db.View(func(tx *bolt.Tx) error { last = tx.Bucket(meta).Get(keyLast); return nil }); err != nil {
		return err
	}
	if last == nil {
		s.anew("")
		return nil
	}
	return s.setAside(errors.New("it could not be opened when the journal began"), Earlier)
}

// damaged says that a file is not what was written.
type damaged struct{ error }

// damage says whether an error is about what is in the file, and not about who may
// use it or whether there is room.
func damage(err error) bool {
	return errors.As(err, new(damaged)) || errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrVersionMismatch) || errors.Is(err, bolterrors.ErrChecksum)
}

// careful calls f, and makes of a page that is nonsense, or is not there, an error.
func careful(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if p := recover(); p != nil {
			err = damaged{fmt.Errorf("the file is damaged: %v", p)}
		}
	}()
	return f()
}

// load opens a file and reads all of it once.
func load(path string) (db *bolt.DB, err error) {
	err = careful(func() (err error) {
		if st, err := os.Stat(path); err == nil && st.Size() > 0 && st.Size() < int64(2*os.Getpagesize()) {
			return damaged{errors.New("the file is cut short")}
		}
		db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWithin, FreelistType: bolt.FreelistMapType})
		if err != nil {
			return err
		}
		db.AllocSize = 1 << 20
		return db.View(readAll)
	})
	if err == nil && !whole(db) {
		err = careful(func() error {
			return db.Update(func(tx *bolt.Tx) error {
				for _, name := range buckets {
					if _, err := tx.CreateBucketIfNotExists(name); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err != nil && db != nil {
		abandon(db)
		db = nil
	}
	return db, err
}

// whole says that a file has what it needs.
func whole(db *bolt.DB) bool {
	return careful(func() error {
		return db.View(func(tx *bolt.Tx) error {
			for _, name := range buckets {
				if tx.Bucket(name) == nil {
					return bolterrors.ErrBucketNotFound
				}
			}
			return nil
		})
	}) == nil
}

// readAll looks at every page there is a way to. (Tx.Check does more, in a goroutine of
// its own, where what it trips over cannot be caught.)
func readAll(tx *bolt.Tx) error {
	read := 0
	err := tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error {
			for _, part := range [][]byte{k, v} {
				if n := len(part); n > 0 {
					read += int(part[0]) + int(part[n-1])
				}
			}
			return nil
		})
	})
	if read < 0 {
		return damaged{errors.New("the file cannot be read")}
	}
	return err
}

// abandon closes a file that is damaged, unless that hangs: its locks may be held by what
// has tripped over it.
func abandon(db *bolt.DB) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = careful(db.Close)
	}()
	select {
	case <-done:
	case <-time.After(abandonAfter):
	}
}

// setAside moves the file away and begins another.
func (s *Store) setAside(cause error, suffix string) error {
	aside := s.settings.Path + suffix
	if s.db != nil {
		abandon(s.db)
		s.db = nil
	}
	if empty(s.settings.Path) && exists(aside) { // the beginning of one that was not made: no loss, and not worth the other's place
		if err := os.Remove(s.settings.Path); err != nil {
			return fmt.Errorf("set the journal file aside: %w", err)
		}
	} else if err := os.Rename(s.settings.Path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("set the journal file aside: %w", err)
	}
	s.settings.Logger.Error("the journal file cannot be gone on with: it is set aside, and a new one begun", zap.Error(cause), zap.String("moved_to", aside))
	s.anew(aside)
	db, err := load(s.settings.Path)
	if err != nil {
		return fmt.Errorf("journal file %s: %w", s.settings.Path, err)
	}
	s.db = db
	return nil
}

// anew notes that the file has nothing.
func (s *Store) anew(aside string) {
	s.written, s.marked = 0, map[string]uint64{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Records, s.stats.Bytes = 0, 0
	if aside != "" {
		s.stats.SetAside = aside
	}
}

// empty says that a file is too short to hold anything.
func empty(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Size() < int64(2*os.Getpagesize())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// header precedes the JSON of a record: its time, and the wall clock at the zero of
// CLOCK_BOOTTIME as it was then, both in ns since the Unix epoch.
const header = 16

func encode(r *episode.Record, boot time.Time) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	value := make([]byte, header, header+len(text))
	binary.BigEndian.PutUint64(value, uint64(r.Time.UnixNano()))
	binary.BigEndian.PutUint64(value[8:], uint64(boot.UnixNano()))
	return append(value, text...), nil
}

// decode returns a record with its instants of CLOCK_BOOTTIME as they would be on
// the clock whose zero is at boot.
func decode(value []byte, boot time.Time) (r episode.Record, err error) {
	if len(value) < header {
		return r, errors.New("a record is cut short")
	}
	if err := json.Unmarshal(value[header:], &r); err != nil {
		return r, err
	}
	r.Shift(int64(binary.BigEndian.Uint64(value[8:])) - boot.UnixNano())
	return r, nil
}

func taken(value []byte) time.Time {
	if len(value) < header {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(value)))
}

func key(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }

// restore has the journal take up what the file holds.
func (s *Store) restore() error {
	var (
		records  []episode.Record
		read     = map[string]uint64{}
		last     uint64
		size     int64
		rejected uint64
	)
	boot := s.settings.Boot()
	err := careful(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{vital, routine} {
				_ = tx.Bucket(name).ForEach(func(k, v []byte) error {
					size += int64(len(k) + len(v))
					if r, err := decode(v, boot); err == nil && bytes.Equal(k, key(r.ID)) {
						records = append(records, r)
					} else {
						rejected++
					}
					return nil
				})
			}
			_ = tx.Bucket(marks).ForEach(func(k, v []byte) error {
				if len(v) == 8 {
					read[string(k)] = binary.BigEndian.Uint64(v)
				}
				return nil
			})
			if v := tx.Bucket(meta).Get(keyLast); len(v) == 8 {
				last = binary.BigEndian.Uint64(v)
			}
			return nil
		})
	})
	if err != nil {
		return s.setAside(err, Damaged)
	}
	sortByID(records)
	if n := len(records); n > 0 {
		last = max(last, records[n-1].ID)
	}
	s.journal.Restore(records, last, read)
	s.written, s.marked = last, read
	s.mu.Lock()
	s.stats.Records, s.stats.Bytes, s.stats.Unreadable = len(records)+int(rejected), size, rejected
	s.mu.Unlock()
	if rejected > 0 {
		s.settings.Logger.Warn("some records of the journal file cannot be read and are passed over", zap.Uint64("records", rejected))
	}
	return nil
}

// Run writes what the journal gets until ctx is done, and then what is left.
func (s *Store) Run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		wake := s.journal.Wait()
		err := s.commit()
		s.trouble(err)
		if err == nil {
			retry = firstRetry
			select {
			case <-ctx.Done():
			case <-wake:
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
			retry = min(2*retry, lastRetry)
		}
	}
	s.trouble(s.commit())
	s.close()
}

func (s *Store) close() {
	if s.db != nil {
		_ = careful(s.db.Close)
		s.db = nil
	}
}

// trouble notes how it stands, and says so where that is news.
func (s *Store) trouble(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.mu.Lock()
	before := s.stats.Trouble
	s.stats.Trouble = text
	s.mu.Unlock()
	switch {
	case before == "" && text != "":
		s.settings.Logger.Error("the journal is not written to its file; it is kept in memory, and writing it tried again", zap.Error(err))
	case before != "" && text == "":
		s.settings.Logger.Info("the journal is written to its file again")
	}
}

// Stats returns how the store stands.
func (s *Store) Stats() episode.FileStats {
	newest := s.journal.Stats().Newest
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Behind = newest - min(newest, s.written)
	return out
}
