// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"errors"
	"fmt"
	"math"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// cursor reads the ticks of a block, one after another, with no more memory than
// the block and one tick take.
type cursor struct {
	header *Header
	// fields are where the columns of the file belong in a sample; -1: nowhere.
	nodeFields, cgroupFields []int

	ticks   uint64 // left in the block
	streams []stream
	last    moment
	numbers []number
	table   []identity
	rows    []int
	values  []uint64 // last value, by entry and field of ours
	// paths of this block, and of the one before.
	paths, before map[uint64]string
}

func newCursor(h *Header, nodeFields, cgroupFields []int) *cursor {
	return &cursor{
		header: h, nodeFields: nodeFields, cgroupFields: cgroupFields, numbers: make([]number, len(h.Node)),
		paths: map[uint64]string{}, before: map[uint64]string{},
	}
}

// open begins a block. Streams beyond those that are known are left alone.
func (c *cursor) open(content []byte) error {
	all := stream(content)
	ticks, err := all.uvarint()
	if err != nil {
		return err
	}
	n, err := all.uvarint()
	if err != nil {
		return err
	}
	known := fixedStreams + len(c.header.Node) + len(c.header.Cgroup)
	if n < uint64(known) || n > uint64(len(all)) {
		return fmt.Errorf("it has %d streams; its header promises %d", n, known)
	}
	lengths := make([]uint64, n)
	for i := range lengths {
		if lengths[i], err = all.uvarint(); err != nil {
			return err
		}
	}
	c.streams = c.streams[:0]
	for _, length := range lengths {
		b, err := all.take(length)
		if err != nil {
			return err
		}
		c.streams = append(c.streams, b)
	}
	if len(all) > 0 {
		return fmt.Errorf("%d bytes follow its streams", len(all))
	}
	c.reset(ticks)
	return nil
}

func (c *cursor) reset(ticks uint64) {
	c.ticks, c.last = ticks, moment{}
	c.table, c.rows, c.values = c.table[:0], c.rows[:0], c.values[:0]
	for i := range c.numbers {
		c.numbers[i] = newNumber(c.header.Node[i].Decimals)
	}
	c.paths, c.before = c.before, c.paths
	clear(c.paths)
}

// next reads one tick.
func (c *cursor) next(into *arc.Sample) error {
	if err := c.readMoment(into); err != nil {
		return fmt.Errorf("times: %w", err)
	}
	if err := c.readNode(&into.Node); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := c.readRows(); err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	if err := c.readColumns(&into.Cgroups); err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	if c.ticks--; c.ticks == 0 {
		return c.finished()
	}
	return nil
}

// finished checks that the block held no more than its ticks.
func (c *cursor) finished() error {
	for i := range fixedStreams {
		if n := len(c.streams[i]); n > 0 {
			return fmt.Errorf("stream %d holds %d bytes more than its ticks", i, n)
		}
	}
	return nil
}

func (c *cursor) readMoment(into *arc.Sample) error {
	s := &c.streams[streamTimes]
	var read [7]uint64
	for i := range read {
		var err error
		if read[i], err = s.uvarint(); err != nil {
			return err
		}
	}
	if read[2] > math.MaxUint32 || read[6] > math.MaxUint32 {
		return errors.New("a count is too large")
	}
	m := moment{missed: uint32(read[2]), truncated: uint32(read[6])}
	m.sequence = c.last.sequence + 1 + uint64(unzigzag(read[0]))
	m.interval = c.last.interval + unzigzag(read[1])
	m.scheduled = c.last.due(m.interval, m.missed) + unzigzag(read[3])
	m.taken = m.scheduled + unzigzag(read[4])
	m.wall = m.taken + (c.last.wall - c.last.taken) + unzigzag(read[5])
	c.last = m
	into.Source, into.Sequence, into.WallTime = c.header.Source, m.sequence, m.wall
	into.Scheduled, into.Taken, into.Interval, into.Missed = m.scheduled, m.taken, m.interval, m.missed
	return nil
}

func (c *cursor) readNode(into *arc.Node) error {
	for f := range into {
		into[f] = math.NaN()
	}
	for i, f := range c.nodeFields {
		if f < 0 {
			continue
		}
		v, err := c.numbers[i].read(&c.streams[fixedStreams+i])
		if err != nil {
			return err
		}
		into[f] = v
	}
	return nil
}

// readRows leaves in c.rows which entries of the table this tick's rows are.
func (c *cursor) readRows() error {
	s := &c.streams[streamRows]
	n, err := s.uvarint()
	if err != nil || n == 0 {
		return err
	}
	if n--; n > maxRows {
		return fmt.Errorf("%d are more than %d", n, maxRows)
	}
	c.rows = c.rows[:0]
	expected := int64(0)
	for range n {
		difference, err := s.varint()
		if err != nil {
			return err
		}
		entry := expected + difference
		if entry < 0 || entry > int64(len(c.table)) {
			return fmt.Errorf("entry %d of %d is not there", entry, len(c.table))
		}
		if entry == int64(len(c.table)) {
			if err := c.readEntry(); err != nil {
				return err
			}
		}
		c.rows = append(c.rows, int(entry))
		expected = entry + 1
	}
	return nil
}

// readEntry reads the next entry of the table.
func (c *cursor) readEntry() error {
	if len(c.table) >= maxTable {
		return fmt.Errorf("the table has more than %d entries", maxTable)
	}
	s := &c.streams[streamTable]
	difference, err := s.varint()
	if err != nil {
		return err
	}
	id := uint64(difference)
	if n := len(c.table); n > 0 {
		id += c.table[n-1].id
	}
	parent, err := c.readParent(s)
	if err != nil {
		return err
	}
	if err := c.readPath(s, id); err != nil {
		return err
	}
	c.table = append(c.table, identity{id, parent})
	for range arc.NumCgroupFields {
		c.values = append(c.values, 0)
	}
	return nil
}

func (c *cursor) readParent(s *stream) (uint64, error) {
	code, err := s.uvarint()
	if err != nil {
		return 0, err
	}
	switch code {
	case parentNone:
		return 0, nil
	case parentByID:
		return s.uvarint()
	}
	back := code - firstParent + 1
	if back > uint64(len(c.table)) {
		return 0, errors.New("a parent is not there")
	}
	return c.table[uint64(len(c.table))-back].id, nil
}

func (c *cursor) readPath(s *stream, id uint64) error {
	n, err := s.uvarint()
	if err != nil {
		return err
	}
	if n == 0 {
		c.paths[id] = c.before[id]
		return nil
	}
	if n--; n > maxPath {
		return fmt.Errorf("a path of %d bytes is longer than %d", n, maxPath)
	}
	name, err := s.take(n)
	c.paths[id] = string(name)
	return err
}

func (c *cursor) readColumns(into *arc.Sweep) error {
	into.Reset()
	into.Truncated = c.last.truncated
	for _, entry := range c.rows {
		into.Append(c.table[entry].id, c.table[entry].parent)
	}
	for i, f := range c.cgroupFields {
		if f < 0 {
			continue
		}
		s := &c.streams[fixedStreams+len(c.numbers)+i]
		for row, entry := range c.rows {
			difference, err := s.varint()
			if err != nil {
				return err
			}
			last := &c.values[entry*int(arc.NumCgroupFields)+f]
			*last += uint64(difference)
			into.Set(arc.CgroupField(f), row, *last)
		}
	}
	return nil
}
