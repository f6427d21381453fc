// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/binary"
	"fmt"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// The streams of a block of ticks; those of the columns follow, of the node and
// then of the cgroups.
const (
	streamTimes = iota
	streamTable
	streamRows
	fixedStreams
)

const (
	// maxRows bounds the cgroups of one tick, maxTable those of a block.
	maxRows  = 1 << 16
	maxTable = 2 * maxRows
	// maxPath bounds a path (PATH_MAX, include/uapi/linux/limits.h).
	maxPath = 4096
)

// How the table names the parent of a cgroup; a greater number is how many
// entries before it the parent is, and one more.
const (
	parentNone = iota
	parentByID
	firstParent
)

// identity is what makes two rows the same cgroup.
type identity struct{ id, parent uint64 }

// moment is the part of a tick that is about time, and what the next tick's is
// predicted from.
type moment struct {
	sequence                         uint64
	scheduled, taken, wall, interval int64
	missed, truncated                uint32
}

func momentOf(s *arc.Sample) moment {
	return moment{
		sequence: s.Sequence, scheduled: s.Scheduled, taken: s.Taken, wall: s.WallTime, interval: s.Interval,
		missed: s.Missed, truncated: s.Cgroups.Truncated,
	}
}

// due is when the tick after m is to be expected, if it says this interval and
// these missed ticks.
func (m *moment) due(interval int64, missed uint32) int64 {
	return m.scheduled + interval*(int64(missed)+1)
}

// builder makes ticks into the content of a block, value by value: each stream
// holds one column, so that like comes after like.
type builder struct {
	ticks   int
	size    int // of the streams together
	streams [][]byte

	last    moment
	numbers []number
	table   map[identity]int
	owners  map[uint64]int // entry of the table by id
	entry   uint64         // id of the last entry
	rows    []int          // entries of the table, of the last tick
	next    []int          // the same of the tick being added
	values  []uint64       // last value, by entry and column
	columns int            // of a cgroup
	// paths of this block, and of the one before.
	paths, before map[uint64]string
	decimals      []int
}

func newBuilder(node, cgroup []Column) *builder {
	b := &builder{
		streams: make([][]byte, fixedStreams+len(node)+len(cgroup)), numbers: make([]number, len(node)),
		table: map[identity]int{}, owners: map[uint64]int{}, columns: len(cgroup),
		paths: map[uint64]string{}, before: map[uint64]string{},
	}
	for _, c := range node {
		b.decimals = append(b.decimals, c.Decimals)
	}
	b.reset()
	return b
}

// reset forgets everything but the names of the cgroups: a block is read without
// those before it, names excepted.
func (b *builder) reset() {
	b.ticks, b.size, b.last, b.entry = 0, 0, moment{}, 0
	for i := range b.streams {
		b.streams[i] = b.streams[i][:0]
	}
	for i := range b.numbers {
		b.numbers[i] = newNumber(b.decimals[i])
	}
	clear(b.table)
	clear(b.owners)
	b.rows, b.values = b.rows[:0], b.values[:0]
	b.paths, b.before = b.before, b.paths
	clear(b.paths)
}

// add adds one tick: its moment, the node's values, and the sweep, whose columns
// are given apart so that a test can have others than [arc.Sweep].
func (b *builder) add(m moment, node []float64, sweep *arc.Sweep, columns [][]uint64, path func(uint64) string) error {
	if sweep.Len() > maxRows {
		return fmt.Errorf("record a tick: %d cgroups are more than %d", sweep.Len(), maxRows)
	}
	b.addMoment(m)
	for i, v := range node {
		s := &b.streams[fixedStreams+i]
		*s = b.numbers[i].append(*s, v)
	}
	b.addRows(sweep, path)
	for f := range b.columns {
		b.addColumn(f, columns[f])
	}
	b.ticks++
	b.size = 0
	for _, s := range b.streams {
		b.size += len(s)
	}
	return nil
}

func (b *builder) addMoment(m moment) {
	s := b.streams[streamTimes]
	s = binary.AppendVarint(s, int64(m.sequence-b.last.sequence-1))
	s = binary.AppendVarint(s, m.interval-b.last.interval)
	s = binary.AppendUvarint(s, uint64(m.missed))
	s = binary.AppendVarint(s, m.scheduled-b.last.due(m.interval, m.missed))
	s = binary.AppendVarint(s, m.taken-m.scheduled)
	s = binary.AppendVarint(s, (m.wall-m.taken)-(b.last.wall-b.last.taken))
	s = binary.AppendUvarint(s, uint64(m.truncated))
	b.streams[streamTimes], b.last = s, m
}

// addRows writes which cgroups the rows are: nothing but a zero where they are
// those of the tick before.
func (b *builder) addRows(sweep *arc.Sweep, path func(uint64) string) {
	b.next = b.next[:0]
	same := len(b.rows) == sweep.Len()
	for i := range sweep.ID {
		entry := b.find(sweep.ID[i], sweep.Parent[i], path)
		same = same && b.rows[i] == entry
		b.next = append(b.next, entry)
	}
	b.rows, b.next = b.next, b.rows
	s := b.streams[streamRows]
	if same {
		b.streams[streamRows] = binary.AppendUvarint(s, 0)
		return
	}
	s = binary.AppendUvarint(s, 1+uint64(len(b.rows)))
	expected := 0
	for _, entry := range b.rows {
		s = binary.AppendVarint(s, int64(entry-expected))
		expected = entry + 1
	}
	b.streams[streamRows] = s
}

// find returns the entry of a cgroup, which it makes where there is none.
func (b *builder) find(id, parent uint64, path func(uint64) string) int {
	key := identity{id, parent}
	if entry, ok := b.table[key]; ok {
		return entry
	}
	entry := len(b.table)
	s := b.streams[streamTable]
	s = binary.AppendVarint(s, int64(id-b.entry))
	s = b.appendParent(s, entry, parent)
	b.streams[streamTable] = b.appendPath(s, id, path)
	b.table[key], b.owners[id], b.entry = entry, entry, id
	for range b.columns {
		b.values = append(b.values, 0)
	}
	return entry
}

func (b *builder) appendParent(s []byte, entry int, parent uint64) []byte {
	if parent == 0 {
		return binary.AppendUvarint(s, parentNone)
	}
	if owner, ok := b.owners[parent]; ok {
		return binary.AppendUvarint(s, firstParent+uint64(entry-owner-1))
	}
	return binary.AppendUvarint(binary.AppendUvarint(s, parentByID), parent)
}

// appendPath writes the path of a cgroup unless the block before has it.
func (b *builder) appendPath(s []byte, id uint64, path func(uint64) string) []byte {
	name := ""
	if path != nil {
		name = path(id)
	}
	if len(name) > maxPath {
		name = name[:maxPath]
	}
	b.paths[id] = name
	if before, ok := b.before[id]; ok && before == name {
		return binary.AppendUvarint(s, 0)
	}
	return append(binary.AppendUvarint(s, 1+uint64(len(name))), name...)
}

// addColumn writes column f of the rows as differences from the value that the
// same cgroup had last.
func (b *builder) addColumn(f int, column []uint64) {
	at := fixedStreams + len(b.numbers) + f
	s := b.streams[at]
	for i, entry := range b.rows {
		v := arc.Absent
		if i < len(column) {
			v = column[i]
		}
		last := &b.values[entry*b.columns+f]
		s = binary.AppendVarint(s, int64(v-*last))
		*last = v
	}
	b.streams[at] = s
}

// appendContent appends the block: how many ticks, how many streams, how long
// each is, and the streams.
func (b *builder) appendContent(to []byte) []byte {
	to = binary.AppendUvarint(to, uint64(b.ticks))
	to = binary.AppendUvarint(to, uint64(len(b.streams)))
	for _, s := range b.streams {
		to = binary.AppendUvarint(to, uint64(len(s)))
	}
	for _, s := range b.streams {
		to = append(to, s...)
	}
	return to
}
