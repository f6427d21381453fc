// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// A block ends with the tick that makes it span this much time, or this many
	// bytes before compression. It is what is lost when the recorder is killed.
	blockSpan = 10 * time.Second
	blockSize = 1 << 20
	// endSize bounds the end block.
	endSize = frameSize + 2*binary.MaxVarintLen64
)

// Writer writes a recording. It is not safe for concurrent use.
type Writer struct {
	packer  *packer
	builder *builder
	content []byte
	began   int64 // when the first tick of the block was due
	ticks   uint64
	blocks  uint64
	full    bool  // there was no room for a block; what follows it is not written either
	err     error // that a write failed with; what follows it cannot be read
}

// ErrFull says that a recording would become longer than its limit.
var ErrFull = errors.New("write recording: it is as long as it may be")

// NewWriter begins a recording of what description describes.
func NewWriter(w io.Writer, description Description) (*Writer, error) {
	return newWriter(w, newHeader(description, NodeColumns(), CgroupColumns()))
}

// Limit bounds the recording: it never becomes longer than limit bytes, once it is
// closed.
func (w *Writer) Limit(limit int64) { w.packer.limit = limit }

func newWriter(w io.Writer, h *Header) (*Writer, error) {
	p, err := newPacker(w)
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("begin recording: %w", err)
	}
	if err := p.block(blockHeader, content); err != nil {
		return nil, err
	}
	return &Writer{packer: p, builder: newBuilder(h.Node, h.Cgroup)}, nil
}

// Write adds one tick. path names a cgroup, "" where nobody knows; it is asked
// once a block for each cgroup, and nil where there are no names. Nothing of s is
// kept.
func (w *Writer) Write(s *arc.Sample, path func(id uint64) string) error {
	return w.write(momentOf(s), s.Node[:], &s.Cgroups, s.Cgroups.Columns[:], path)
}

func (w *Writer) write(m moment, node []float64, sweep *arc.Sweep, columns [][]uint64, path func(uint64) string) error {
	switch {
	case w.err != nil:
		return w.err
	case w.full:
		return ErrFull
	}
	if w.builder.ticks == 0 {
		w.began = m.scheduled
	}
	if err := w.builder.add(m, node, sweep, columns, path); err != nil {
		return err
	}
	w.ticks++
	full := w.builder.size >= blockSize || len(w.builder.table) >= maxRows
	if full || m.scheduled-w.began >= int64(blockSpan) || m.scheduled < w.began {
		return w.Flush()
	}
	return nil
}

// Flush ends the block begun, if any tick is in it. A block for which there is no
// room is given up, and [ErrFull] says so; the recording can then be closed.
func (w *Writer) Flush() error {
	if w.err != nil || w.builder.ticks == 0 {
		return w.err
	}
	ticks := uint64(w.builder.ticks)
	w.content = w.builder.appendContent(w.content[:0])
	w.builder.reset()
	err := w.packer.block(blockTicks, w.content)
	switch {
	case errors.Is(err, ErrFull):
		w.ticks -= ticks
		w.full = true
	case err != nil:
		w.err = err
	default:
		w.blocks++
	}
	return err
}

// Close ends the recording. It does not close what it is written to.
func (w *Writer) Close() error {
	full := w.Flush()
	if w.err != nil {
		return w.err
	}
	content := binary.AppendUvarint(nil, w.ticks)
	content = binary.AppendUvarint(content, w.blocks)
	w.err = w.packer.block(blockEnd, content)
	err := errors.Join(full, w.err, w.packer.encoder.Close())
	if w.err == nil {
		w.err = errClosed
	}
	return err
}

var errClosed = errors.New("write recording: it is closed")

// Ticks is how many have been written.
func (w *Writer) Ticks() uint64 { return w.ticks }

// Size is how long the recording is, in bytes, without what has not been flushed.
func (w *Writer) Size() int64 { return w.packer.written }
