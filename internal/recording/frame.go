// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// magic begins a recording. Its first byte is in no text, and the rest shows a
// transfer that rewrites the ends of lines, as PNG's signature does.
const magic = "\x8bRFX\r\n\x1a\n"

// Is reports whether start, the first bytes of a file, begins a recording.
func Is(start []byte) bool { return bytes.HasPrefix(start, []byte(magic)) }

var (
	// ErrTruncated says that a recording ends before its end block: whoever wrote
	// it was stopped. What was read before is whole.
	ErrTruncated = errors.New("the recording ends early")
	// ErrDamaged says that a recording is not as it was written.
	ErrDamaged = errors.New("the recording is damaged")
	// ErrUnsupported says that a recording was written by a later version.
	ErrUnsupported = errors.New("the recording is of a later version")
)

// Types of blocks. Who meets a type that is not known skips it if it is in lower
// case, and stops if it is in upper case.
const (
	blockHeader = 'H'
	blockTicks  = 'T'
	blockEnd    = 'E'
)

// How a block's content is stored.
const (
	asIs       = 0
	compressed = 1
)

const (
	// frameSize is what precedes the content of every block.
	frameSize = 20
	// maxContent bounds the content of a block, stored or not. It holds one tick
	// of as many cgroups as a sweep may hold.
	maxContent = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is what precedes the content of a block.
type frame struct {
	kind, codec  byte
	stored, size uint32 // of the content as stored, and uncompressed
	checksum     uint32 // of the content as stored
}

func (f *frame) append(b []byte) []byte {
	start := len(b)
	b = append(b, f.kind, f.codec, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, f.stored)
	b = binary.LittleEndian.AppendUint32(b, f.size)
	b = binary.LittleEndian.AppendUint32(b, f.checksum)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func (f *frame) parse(b []byte) error {
	const sum = frameSize - 4
	if crc32.Checksum(b[:sum], castagnoli) != binary.LittleEndian.Uint32(b[sum:]) {
		return errors.New("the checksum of its frame is wrong")
	}
	f.kind, f.codec = b[0], b[1]
	f.stored = binary.LittleEndian.Uint32(b[4:])
	f.size = binary.LittleEndian.Uint32(b[8:])
	f.checksum = binary.LittleEndian.Uint32(b[12:])
	if f.stored > maxContent || f.size > maxContent {
		return fmt.Errorf("it claims to hold %d bytes, %d uncompressed; %d are the most", f.stored, f.size, maxContent)
	}
	return nil
}

// packer writes blocks.
type packer struct {
	w       io.Writer
	encoder *zstd.Encoder
	out     []byte // reused
	written int64
	limit   int64 // 0: none
}

func newPacker(w io.Writer) (*packer, error) {
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("begin recording: %w", err)
	}
	p := &packer{w: w, encoder: encoder}
	return p, p.write([]byte(magic))
}

func (p *packer) write(b []byte) error {
	n, err := p.w.Write(b)
	p.written += int64(n)
	if err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	return nil
}

// block writes one block, compressed where that makes it smaller, in one write.
func (p *packer) block(kind byte, content []byte) error {
	if len(content) > maxContent {
		return fmt.Errorf("write recording: a block of %d bytes is more than %d", len(content), maxContent)
	}
	var room [frameSize]byte
	p.out = p.encoder.EncodeAll(content, append(p.out[:0], room[:]...))
	f := frame{kind: kind, codec: compressed, size: uint32(len(content))}
	if len(p.out)-frameSize >= len(content) {
		p.out = append(append(p.out[:0], room[:]...), content...)
		f.codec = asIs
	}
	stored := p.out[frameSize:]
	f.stored, f.checksum = uint32(len(stored)), crc32.Checksum(stored, castagnoli)
	f.append(p.out[:0])
	if length := p.written + int64(len(p.out)); p.limit > 0 && kind != blockEnd && length+endSize > p.limit {
		return ErrFull
	}
	return p.write(p.out)
}

// unpacker reads blocks.
type unpacker struct {
	r       io.Reader
	decoder *zstd.Decoder
	stored  bytes.Buffer
	content []byte
	// offset is where the block read last begins, next where the one after it does.
	offset, next int64
}

func newUnpacker(r io.Reader) (*unpacker, error) {
	start := make([]byte, len(magic))
	n, err := io.ReadFull(r, start)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if bytes.HasPrefix([]byte(magic), start[:n]) {
			return nil, fmt.Errorf("byte %d: %w", n, ErrTruncated)
		}
	case err != nil:
		return nil, err
	}
	if !Is(start) {
		return nil, fmt.Errorf("byte 0: %w: it does not begin as one", ErrDamaged)
	}
	decoder, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxContent))
	if err != nil {
		return nil, fmt.Errorf("begin to read a recording: %w", err)
	}
	return &unpacker{r: r, decoder: decoder, next: int64(len(magic))}, nil
}

func (u *unpacker) close() { u.decoder.Close() }

// damaged is an error about the block read last.
func (u *unpacker) damaged(format string, args ...any) error {
	return fmt.Errorf("block at byte %d: %w: %s", u.offset, ErrDamaged, fmt.Sprintf(format, args...))
}

// block reads the next block; its content is valid until the one after it.
func (u *unpacker) block() (kind byte, content []byte, err error) {
	u.offset = u.next
	var head [frameSize]byte
	if _, err := io.ReadFull(u.r, head[:]); err != nil {
		return 0, nil, u.ended(err)
	}
	var f frame
	if err := f.parse(head[:]); err != nil {
		return 0, nil, u.damaged("%v", err)
	}
	u.stored.Reset()
	if _, err := io.CopyN(&u.stored, u.r, int64(f.stored)); err != nil {
		return 0, nil, u.ended(err)
	}
	u.next += frameSize + int64(f.stored)
	if crc32.Checksum(u.stored.Bytes(), castagnoli) != f.checksum {
		return 0, nil, u.damaged("the checksum of its content is wrong")
	}
	content, err = u.unpack(&f)
	return f.kind, content, err
}

// ended explains a read that did not get all it wanted.
func (u *unpacker) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("block at byte %d: %w", u.offset, ErrTruncated)
	}
	return err
}

func (u *unpacker) unpack(f *frame) ([]byte, error) {
	switch f.codec {
	case asIs:
		if f.size != f.stored {
			return nil, u.damaged("it is %d bytes long and claims %d", f.stored, f.size)
		}
		return u.stored.Bytes(), nil
	case compressed:
		var err error
		if u.content, err = u.decoder.DecodeAll(u.stored.Bytes(), u.content[:0]); err != nil {
			return nil, u.damaged("uncompress: %v", err)
		}
		if len(u.content) != int(f.size) {
			return nil, u.damaged("it is %d bytes long and claims %d", len(u.content), f.size)
		}
		return u.content, nil
	default:
		return nil, fmt.Errorf("block at byte %d: %w: it is stored in a way (%d) that is not known", u.offset, ErrUnsupported, f.codec)
	}
}

// atEnd reports whether nothing follows the block read last.
func (u *unpacker) atEnd() error {
	var one [1]byte
	switch n, err := io.ReadFull(u.r, one[:]); {
	case n > 0:
		u.offset = u.next
		return u.damaged("something follows the end of the recording")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
