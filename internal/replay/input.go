// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

const (
	// block is how much is read, and uncompressed, ahead of the engine at once.
	block = 256 << 10
	// blocks read ahead at most.
	blocks = 4
)

// Input is a recording opened for reading: its bytes, uncompressed. It is read
// by one goroutine.
type Input struct {
	// Name is the recording's, for errors.
	Name string
	// Size is that of the file as stored, in bytes; 0: unknown.
	Size int64

	stored counter
	file   *os.File
	ahead  chan ahead
	spare  chan []byte
	rest   []byte
	last   []byte
	err    error
	stop   context.CancelFunc
	done   <-chan struct{}
	cause  func() error
}

// ahead is one block, or the error that ended reading.
type ahead struct {
	b   []byte
	err error
}

// counter counts the bytes that pass.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Open opens the recording at path; "-" is standard input. What is compressed
// with gzip, whatever its name, is uncompressed. When ctx ends, so does
// reading, even one that waits for a pipe.
func Open(ctx context.Context, path string, stdin io.Reader) (*Input, error) {
	if path == "-" {
		return NewInput(ctx, "standard input", stdin)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	in, err := NewInput(ctx, path, file)
	if err != nil {
		file.Close()
		return nil, err
	}
	in.file = file
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		in.Size = info.Size()
	}
	return in, nil
}

// NewInput is an input that reads from r, which it does not close.
func NewInput(ctx context.Context, name string, r io.Reader) (*Input, error) {
	within, stop := context.WithCancel(ctx)
	in := &Input{
		Name: name, stop: stop, done: within.Done(), cause: ctx.Err,
		ahead: make(chan ahead, blocks), spare: make(chan []byte, blocks+2),
	}
	in.stored.r = r
	go in.readAhead()
	return in, nil
}

// readAhead runs until the input ends, fails or is closed. A read that never
// returns keeps it: that of a terminal or a pipe, at the end of the process.
func (in *Input) readAhead() {
	defer close(in.ahead)
	r, err := uncompressed(&in.stored)
	for err == nil {
		var b []byte
		select {
		case b = <-in.spare:
		default:
			b = make([]byte, block)
		}
		var n int
		n, err = r.Read(b)
		if n > 0 && !in.send(ahead{b: b[:n]}) {
			return
		}
	}
	in.send(ahead{err: err})
}

func (in *Input) send(a ahead) bool {
	select {
	case in.ahead <- a:
		return true
	case <-in.done:
		return false
	}
}

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func uncompressed(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, block)
	switch start, err := buffered.Peek(len(magicZstd)); {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case bytes.HasPrefix(start, magicGzip):
		return gzip.NewReader(buffered)
	case bytes.HasPrefix(start, magicZstd):
		return nil, errors.New("is compressed with zstd: uncompress it with zstd -d first")
	}
	return buffered, nil
}

// Read implements io.Reader.
func (in *Input) Read(p []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.err != nil {
			return 0, in.err
		}
		if in.last != nil {
			select {
			case in.spare <- in.last[:cap(in.last)]:
			default:
			}
			in.last = nil
		}
		select {
		case <-in.done:
			in.err = in.ended()
		case a, open := <-in.ahead:
			switch {
			case !open: // which may be noticed before done is
				in.err = in.ended()
			case a.err != nil:
				in.err = a.err
			default:
				in.rest, in.last = a.b, a.b
			}
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

// ended is why reading ended before the file did.
func (in *Input) ended() error {
	if err := in.cause(); err != nil {
		return err
	}
	return os.ErrClosed
}

// Position is how many bytes of the file as stored have been read. It may be
// asked from any goroutine.
func (in *Input) Position() int64 { return in.stored.n.Load() }

// Close ends reading and closes what Open opened.
func (in *Input) Close() {
	in.stop()
	if in.file != nil {
		in.file.Close()
	}
}
