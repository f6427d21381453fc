// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package wire is what host and guest of a virtual machine say to each other:
// the configuration that the host puts into the initramfs, and the frames that
// the guest's init sends through one virtio-serial port. Everything goes through
// that one port, so its order is the order of events.
//
// It uses nothing but the standard library, because the guest's init is built
// from the embedded source alone.
package wire

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

const (
	// Port is the name of the virtio-serial port.
	Port = "reflex.vmtest"
	// ConfigPath is where the guest finds its Config as JSON.
	ConfigPath = "/etc/vmtest.json"
	// OutDir is the guest's directory that is sent to the host at the end.
	OutDir = "/out"
)

// Config tells the guest's init what to do.
type Config struct {
	// Manager is the service manager that becomes process 1; "" for none.
	Manager string
	Modules []string // paths in the guest, in the order to load them
	Command []string
	Env     []string
}

// Kind says what a frame carries.
type Kind byte

const (
	// Output is a piece of the command's stdout and stderr.
	Output Kind = 'o'
	// Archive is a piece of the tar archive of OutDir.
	Archive Kind = 'a'
	// Exit is the end: the command's exit code in decimal. The guest then
	// waits for an acknowledgement before it powers off.
	Exit Kind = 'x'
	// Failed is the end without a command: why init gave up.
	Failed Kind = 'f'
)

// What the host sends to the guest, one byte each.
const (
	Stop        byte = 's' // end the command now and report
	Acknowledge byte = 'k' // everything has arrived
)

// MaxPayload bounds a frame.
const MaxPayload = 64 << 10

const headerSize = 5

// Writer writes frames. It is safe for concurrent use; a frame is one write.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf [headerSize + MaxPayload]byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write sends p as frames of the kind.
func (w *Writer) Write(kind Kind, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		n := copy(w.buf[headerSize:], p)
		w.buf[0] = byte(kind)
		binary.LittleEndian.PutUint32(w.buf[1:], uint32(n))
		for sent := 0; sent < headerSize+n; {
			m, err := w.w.Write(w.buf[sent : headerSize+n])
			if err != nil {
				return fmt.Errorf("write a frame: %w", err)
			}
			sent += m
		}
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// Stream returns a writer whose every write becomes frames of the kind.
func (w *Writer) Stream(kind Kind) io.Writer { return stream{w, kind} }

type stream struct {
	w    *Writer
	kind Kind
}

func (s stream) Write(p []byte) (int, error) {
	if err := s.w.Write(s.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Reader reads frames.
type Reader struct {
	r   io.Reader
	buf [MaxPayload]byte
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next frame; its payload is valid until the following call.
// io.EOF means that the stream ended between two frames.
func (r *Reader) Next() (Kind, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(header[1:])
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("frame of %d bytes is longer than %d", n, MaxPayload)
	}
	if _, err := io.ReadFull(r.r, r.buf[:n]); err != nil {
		return 0, nil, fmt.Errorf("read a frame of %d bytes: %w", n, err)
	}
	return Kind(header[0]), r.buf[:n], nil
}
