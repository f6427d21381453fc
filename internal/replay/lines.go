// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lines reads lines of any length up to a longest, without allocating for those
// that fit a block.
type lines struct {
	name    string // of the recording, for errors
	r       *bufio.Reader
	n       int // read so far
	longest int // bytes
	buffer  []byte
	// cut says that the line read last had no end.
	cut bool
}

func newLines(name string, r io.Reader, longest int) lines {
	return lines{name: name, r: bufio.NewReaderSize(r, block), longest: longest}
}

// next returns the next line without its end; it is valid until the one after
// it is read. It returns io.EOF at the end.
func (l *lines) next() ([]byte, error) {
	line, err := l.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		l.buffer = append(l.buffer[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			if len(l.buffer) > l.longest {
				return nil, l.tooLong(l.n + 1)
			}
			line, err = l.r.ReadSlice('\n')
			l.buffer = append(l.buffer, line...)
		}
		line = l.buffer
	}
	switch {
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case err != nil && !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("%s: after line %d: %w", l.name, l.n, err)
	}
	l.n++
	l.cut = err != nil
	line = bytes.TrimSuffix(line, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), nil
}

func (l *lines) tooLong(line int) error {
	return fmt.Errorf("%s: line %d: is longer than %d bytes", l.name, line, l.longest)
}
