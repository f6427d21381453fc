// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

func sortByID(records []episode.Record) {
	slices.SortFunc(records, func(a, b episode.Record) int { return cmp.Compare(a.ID, b.ID) })
}

// commit writes all that is new. A file that turns out to be damaged is set aside, and
// gets all that the journal holds.
func (s *Store) commit() error {
	if s.db == nil {
		if err := s.openLate(); err != nil {
			return err
		}
	}
	for range 2 {
		err := careful(s.write)
		if !damage(err) {
			return err
		}
		if err := s.setAside(err, Damaged); err != nil {
			return err
		}
	}
	return nil
}

// write writes, in transactions of batch records, those that are new and how far the
// readers are: never further than the records are.
func (s *Store) write() error {
	buffer := make([]episode.Record, 0, batch)
	for {
		read := s.journal.Marks()
		records := s.journal.Read(s.written, buffer)
		last := s.written
		if n := len(records); n > 0 {
			last = records[n-1].ID
		}
		for reader, id := range read {
			read[reader] = min(id, last)
		}
		if len(records) == 0 && maps.Equal(read, s.marked) {
			return nil
		}
		var c change
		err := s.db.Update(func(tx *bolt.Tx) error {
			c = change{tx: tx, size: s.size()}
			return c.make(records, read, last, &s.settings)
		})
		if err != nil {
			return err
		}
		s.mu.Lock()
		if n := uint64(len(records)); n > 0 && s.written > 0 {
			s.stats.Missed += last - s.written - n
		}
		s.stats.Bytes, s.stats.Dropped = c.size, s.stats.Dropped+c.dropped
		s.stats.Records += len(records) - int(c.dropped) //nolint:gosec // a few
		s.written, s.marked = last, read
		s.mu.Unlock()
	}
}

func (s *Store) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats.Bytes
}

// change is one transaction.
type change struct {
	tx      *bolt.Tx
	size    int64
	dropped uint64
}

func (c *change) make(records []episode.Record, read map[string]uint64, last uint64, set *Settings) error {
	boot := set.Boot()
	for i := range records {
		r := &records[i]
		value, err := encode(r, boot)
		if err != nil {
			return err
		}
		into := vital
		if r.Routine() {
			into = routine
		}
		b := c.tx.Bucket(into)
		b.FillPercent = 0.9 // IDs only grow
		if err := b.Put(key(r.ID), value); err != nil {
			return err
		}
		c.size += int64(8 + len(value))
	}
	b := c.tx.Bucket(marks)
	for reader, id := range read {
		if err := b.Put([]byte(reader), key(id)); err != nil {
			return err
		}
	}
	if err := c.tx.Bucket(meta).Put(keyLast, key(last)); err != nil {
		return err
	}
	return c.prune(set)
}

// prune makes room: what is too old goes, and the oldest, of routine first.
func (c *change) prune(set *Settings) error {
	for _, name := range [][]byte{routine, vital} {
		at := c.tx.Bucket(name).Cursor()
		for k, v := at.First(); k != nil; k, v = at.First() {
			if c.size <= set.MaxBytes && taken(v).After(set.Now().Add(-set.MaxAge)) {
				break
			}
			if err := at.Delete(); err != nil {
				return err
			}
			c.size -= int64(len(k) + len(v))
			c.dropped++
		}
	}
	return nil
}
