// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/recording"
)

// Tape is a recording in memory: about 6 kB a tick of twenty cgroups.
type Tape struct {
	Name   string
	Kernel string
	// Bytes is the size of the file.
	Bytes int64
	Ticks []arc.Sample

	paths map[uint64]string
	// born is when a cgroup was first seen with a task (CLOCK_BOOTTIME, ns). It is
	// not known of those that had one at the first tick.
	born map[uint64]int64
	last uint64 // the greatest id
}

// ErrBlind says that a recording lacks what the policy looks at before it acts.
var ErrBlind = errors.New("it holds no memory.stat, without which the policy contains nobody: record with --closer-look")

// Load reads a recording from a file.
func Load(path string) (*Tape, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.Name = filepath.Base(path)
	if info, err := f.Stat(); err == nil {
		t.Bytes = info.Size()
	}
	return t, nil
}

// Read reads a recording.
func Read(from io.Reader) (*Tape, error) {
	r, err := recording.NewReader(from)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := &Tape{Kernel: r.Header().Kernel, paths: map[uint64]string{}, born: map[uint64]int64{}}
	var s arc.Sample
	for {
		err := r.Next(&s)
		if errors.Is(err, io.EOF) || errors.Is(err, recording.ErrTruncated) && len(t.Ticks) > 0 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("after %d ticks: %w", len(t.Ticks), err)
		}
		s.Source = r.Header().Source
		for _, id := range s.Cgroups.ID {
			if p := r.Path(id); p != "" {
				t.paths[id] = p
			}
		}
		t.add(&s)
	}
	return t, t.check()
}

// add keeps a copy of a tick.
func (t *Tape) add(s *arc.Sample) {
	kept := *s
	kept.Period = kept.Interval
	sweep := arc.Sweep{Truncated: s.Cgroups.Truncated}
	if n := len(t.Ticks); n > 0 && slices.Equal(t.Ticks[n-1].Cgroups.ID, s.Cgroups.ID) && slices.Equal(t.Ticks[n-1].Cgroups.Parent, s.Cgroups.Parent) {
		sweep.ID, sweep.Parent = t.Ticks[n-1].Cgroups.ID, t.Ticks[n-1].Cgroups.Parent
	} else {
		sweep.ID, sweep.Parent = slices.Clone(s.Cgroups.ID), slices.Clone(s.Cgroups.Parent)
	}
	for f, column := range s.Cgroups.Columns {
		if slices.ContainsFunc(column, func(v uint64) bool { return v != arc.Absent }) {
			sweep.Columns[f] = slices.Clone(column)
		}
	}
	kept.Cgroups = sweep
	for row, id := range sweep.ID {
		t.last = max(t.last, id)
		if _, known := t.born[id]; !known && populated(&sweep, row) {
			t.born[id] = s.Taken
			if len(t.Ticks) == 0 {
				t.born[id] = 0
			}
		}
	}
	t.Ticks = append(t.Ticks, kept)
}

// check refuses what cannot be replayed.
func (t *Tape) check() error {
	if len(t.Ticks) < 2 {
		return fmt.Errorf("it holds %d ticks", len(t.Ticks))
	}
	for i := range t.Ticks {
		if len(t.Ticks[i].Cgroups.Columns[arc.CgroupMemoryUnreclaimable]) > 0 {
			return nil
		}
	}
	return ErrBlind
}

// Span is the time between the first tick and the last.
func (t *Tape) Span() time.Duration {
	return time.Duration(t.Ticks[len(t.Ticks)-1].Scheduled - t.Ticks[0].Scheduled)
}

// Missed is the share of ticks that were not taken, or not kept.
func (t *Tape) Missed() float64 {
	due := float64(t.Span())/float64(max(t.Ticks[0].Interval, 1)) + 1
	return max(1-float64(len(t.Ticks))/due, 0)
}

// Cgroups is how many there were at most.
func (t *Tape) Cgroups() (most int) {
	for i := range t.Ticks {
		most = max(most, t.Ticks[i].Cgroups.Len())
	}
	return most
}

// age is that of a cgroup at an instant of the recording, negative where it is
// not known.
func (t *Tape) age(id uint64, at int64) time.Duration {
	born, ok := t.born[id]
	if !ok || born == 0 {
		return -1
	}
	return time.Duration(at - born)
}

// populated says that a cgroup has a task, or that nobody counts.
func populated(s *arc.Sweep, row int) bool { return s.Value(arc.CgroupPids, row) != 0 }

// id returns that of the first cgroup at path, 0 if there was none.
func (t *Tape) id(path string) (first uint64) {
	for id, p := range t.paths {
		if p == path && (first == 0 || id < first) {
			first = id
		}
	}
	return first
}
