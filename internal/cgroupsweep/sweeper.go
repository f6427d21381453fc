// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupsweep

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// readInterval is the least time between two readings of memory.current,
	// with room for a tick that comes early. Sweeps in between repeat the values
	// of the last one.
	readInterval = 95 * time.Millisecond
	// slowTurns is over how many readings every cgroup's slow columns are spread
	// where readings come as fast as they may; slower ones take more turns each.
	slowTurns = 10
	// walkInterval is the time between two walks of the tree, and walkShare the
	// least multiple of a walk's own duration to let pass.
	walkInterval = time.Second
	walkShare    = 50
)

// Clock returns an instant in ns that only grows.
type Clock func() int64

// Sweeper sweeps the cgroups below a root. It is not safe for concurrent use.
type Sweeper struct {
	root  *cgroupfs.Root
	clock Clock
	max   int

	rows      []*cgroup // in walk order
	known     map[uint64]*cgroup
	walked    int64 // when the tree was last walked
	pause     int64 // until the next walk, from walked
	walks     uint64
	read      int64 // when memory.current was last read
	readings  int
	turn      int // whose slow columns are next
	truncated uint32
	buf       [4096]byte
}

// Open opens the cgroup v2 directory at root for sweeps of up to max cgroups,
// fewer where the process may not hold descriptors for as many.
func Open(root string, max int, clock Clock) (*Sweeper, error) {
	r, err := cgroupfs.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	s := &Sweeper{root: r, clock: clock, max: min(max, affordable()), known: map[uint64]*cgroup{}}
	if err := s.walk(); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// affordable is how many cgroups' files may be held open: half of what the
// process may have, the other half is left to the rest of the collector.
func affordable() int {
	limit := unix.Rlimit{Cur: 1024}
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
	return int(min(limit.Cur/2, 1<<20)) / numFiles
}

// Capacity is how many cgroups a sweep holds at most.
func (s *Sweeper) Capacity() int { return s.max }

// Sweep replaces into by one row for each cgroup, parents before children.
func (s *Sweeper) Sweep(into *arc.Sweep) error {
	into.Reset()
	var err error
	if now := s.clock(); s.readings == 0 || now-s.read >= int64(readInterval) {
		if now-s.walked >= s.pause {
			err = s.walk()
		}
		turns := min(max(int((now-s.read)/int64(readInterval)), 1), slowTurns)
		s.read = now
		s.readAll(turns)
	}
	into.Truncated = s.truncated
	for _, c := range s.rows {
		if c.gone {
			continue
		}
		row := into.Append(c.id, c.parent)
		for f := range c.values {
			into.Set(arc.CgroupField(f), row, c.values[f])
		}
	}
	return err
}

// readAll reads the fast columns of every cgroup and the slow ones of every tenth,
// so many turns of them.
func (s *Sweeper) readAll(turns int) {
	turn := s.turn
	s.turn = (s.turn + turns) % slowTurns
	s.readings++
	for i, c := range s.rows {
		c.readFast(s.buf[:])
		if c.gone {
			s.pause = 0 // something was removed: look again at the next reading
			continue
		}
		if (i%slowTurns+slowTurns-turn)%slowTurns < turns {
			c.readSlow(s.buf[:])
		}
	}
}

// walk brings rows up to date with the tree.
func (s *Sweeper) walk() error {
	started := s.clock()
	s.walks++
	s.rows, s.truncated = s.rows[:0], 0
	err := s.root.Walk(func(id, parent uint64, path string) error {
		if len(s.rows) >= s.max {
			s.truncated++
			return nil
		}
		c := s.known[id]
		if c == nil {
			c = openCgroup(s.root.Name()+path, id)
			if c == nil {
				return nil // replaced while we looked: the next walk sees what is there
			}
			c.readSlow(s.buf[:])
			s.known[id] = c
		}
		c.parent, c.walk = parent, s.walks
		s.rows = append(s.rows, c)
		return nil
	})
	for id, c := range s.known {
		if c.walk != s.walks {
			c.close()
			delete(s.known, id)
		}
	}
	s.walked = s.clock()
	s.pause = max(int64(walkInterval), walkShare*(s.walked-started))
	if err != nil {
		return fmt.Errorf("sweep cgroups below %s: %w", s.root.Name(), err)
	}
	return nil
}

// Close closes every file. The sweeper sees nothing afterwards.
func (s *Sweeper) Close() error {
	for _, c := range s.known {
		c.close()
	}
	clear(s.known)
	s.rows = nil
	return s.root.Close()
}
