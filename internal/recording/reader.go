// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"errors"
	"fmt"
	"io"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Reader reads a recording, tick by tick. It is not safe for concurrent use.
type Reader struct {
	unpacker *unpacker
	header   *Header
	unknown  []Column
	cursor   *cursor
	ticks    uint64
	blocks   uint64
	err      error
}

// NewReader reads the beginning of a recording.
func NewReader(r io.Reader) (*Reader, error) {
	u, err := newUnpacker(r)
	if err != nil {
		return nil, err
	}
	kind, content, err := u.block()
	if err != nil {
		u.close()
		return nil, err
	}
	if kind != blockHeader {
		u.close()
		return nil, u.damaged("it is no header")
	}
	h, err := parseHeader(content)
	if err != nil {
		u.close()
		return nil, err
	}
	nodeFields, unknown := match(h.Node, NodeColumns())
	cgroupFields, more := match(h.Cgroup, CgroupColumns())
	return &Reader{
		unpacker: u, header: h, unknown: append(unknown, more...),
		cursor: newCursor(h, nodeFields, cgroupFields),
	}, nil
}

// Header is what the recording says about itself. The caller does not change it.
func (r *Reader) Header() *Header { return r.header }

// Unknown are the columns of the file that this version does not know, and does
// not read.
func (r *Reader) Unknown() []Column { return r.unknown }

// Ticks is how many have been read.
func (r *Reader) Ticks() uint64 { return r.ticks }

// Next reads the next tick into s and keeps s's memory in use. It returns io.EOF
// after the last tick of a whole recording, [ErrTruncated] after the last whole
// block of one that ends early, and [ErrDamaged] where one is damaged; after an
// error it returns the same again.
func (r *Reader) Next(s *arc.Sample) error {
	if r.err == nil {
		r.err = r.next(s)
		if r.err != nil {
			r.unpacker.close()
		}
	}
	return r.err
}

func (r *Reader) next(s *arc.Sample) error {
	for r.cursor.ticks == 0 {
		if err := r.open(); err != nil {
			return err
		}
	}
	if err := r.cursor.next(s); err != nil {
		return r.unpacker.damaged("%v", err)
	}
	r.ticks++
	return nil
}

// open reads the next block.
func (r *Reader) open() error {
	kind, content, err := r.unpacker.block()
	if err != nil {
		return err
	}
	switch {
	case kind == blockTicks:
		r.blocks++
		if err := r.cursor.open(content); err != nil {
			return r.unpacker.damaged("%v", err)
		}
		return nil
	case kind == blockEnd:
		return r.end(content)
	case kind >= 'a' && kind <= 'z':
		return nil
	default:
		return fmt.Errorf("block at byte %d: %w: its type %q is not known", r.unpacker.offset, ErrUnsupported, kind)
	}
}

// end checks that nothing is missing, and nothing too much.
func (r *Reader) end(content []byte) error {
	s := stream(content)
	ticks, err := s.uvarint()
	blocks, other := s.uvarint()
	if err = errors.Join(err, other); err != nil {
		return r.unpacker.damaged("%v", err)
	}
	if ticks != r.ticks || blocks != r.blocks {
		return r.unpacker.damaged("the recording had %d ticks in %d blocks; here are %d in %d", ticks, blocks, r.ticks, r.blocks)
	}
	if err := r.unpacker.atEnd(); err != nil {
		return err
	}
	return io.EOF
}

// Path is the path of a cgroup of the tick read last, or of an earlier one of the
// same block; "" where nobody knew.
func (r *Reader) Path(id uint64) string { return r.cursor.paths[id] }

// Close frees what the reader holds. It is safe after an error.
func (r *Reader) Close() {
	if r.err == nil {
		r.err = errors.New("the recording is closed")
		r.unpacker.close()
	}
}
