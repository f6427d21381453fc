// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// window is how many calls of one connection are answered at a time. Others
	// wait where they are: in the socket of whoever sent them.
	window = 2
	// maxFrame bounds a message, in bytes: an order has a few hundred, a reason
	// in which every byte is escaped included. The transport's own bound, 4 MiB,
	// is more than the guard itself may have.
	maxFrame = 4096
	// frameWithin is how long a message may take to arrive once it has begun, and
	// an answer to be taken.
	frameWithin = 2 * time.Second
	// callRate is how many calls a second are taken of all connections of the
	// collector's together, in bursts of up to callBurst. Eight leases that move with
	// every tick of 10 ms are 800; what is more would take CPU time and memory from a
	// node that may have neither to spare.
	callRate  = 2000
	callBurst = 200

	frameHeader  = 10 // of ttrpc: length, stream, type, flags
	frameTypeAt  = 8
	frameRequest = 1
)

// frame is where a stream of ttrpc messages is.
type frame struct {
	header [frameHeader]byte
	have   int // of the header
	left   int // of the message behind it
}

// between reports whether the next byte begins a message.
func (f *frame) between() bool { return f.have == 0 && f.left == 0 }

// advance takes bytes that all belong to the same header or the same message. It
// reports whether they complete the header, or everything.
func (f *frame) advance(b []byte) (header, whole bool) {
	if f.left > 0 {
		f.left -= len(b)
		return false, f.left == 0
	}
	f.have += copy(f.header[f.have:], b)
	if f.have < frameHeader {
		return false, false
	}
	f.have, f.left = 0, int(binary.BigEndian.Uint32(f.header[:]))
	return true, f.left == 0
}

// next is how many bytes at most belong together, see advance.
func (f *frame) next() int {
	if f.left > 0 {
		return f.left
	}
	return frameHeader - f.have
}

// admitted is a connection whose peer is protected until it closes. Nothing but
// requests of an honest length comes through, and a few at a time.
type admitted struct {
	net.Conn
	leave func()
	turn  func(cause error) // records what is turned away
	pace  *rate.Limiter     // of the calls, nil for none
	ended chan struct{}     // closed by Close

	in, out frame // of the one reader, and the one writer
	called  bool  // there is room for the message that begins next

	mu     sync.Mutex
	freed  sync.Cond // a call was answered, or the connection closed
	room   int       // for calls
	closed bool
}

func newAdmitted(conn net.Conn, leave func(), turn func(error), pace *rate.Limiter) *admitted {
	c := &admitted{Conn: conn, leave: leave, turn: turn, pace: pace, ended: make(chan struct{}), room: window}
	c.freed.L = &c.mu
	return c
}

// Read implements [net.Conn]. Whatever is wrong ends the connection as if the
// peer had: the transport goes on with any other error.
func (c *admitted) Read(p []byte) (int, error) {
	if c.in.between() && !c.called && !c.admit() {
		return 0, io.EOF
	}
	c.called = true
	n, err := c.Conn.Read(p[:min(len(p), c.in.next())])
	if n > 0 {
		c.called = false
		header, whole := c.in.advance(p[:n])
		if header {
			if err := c.honest(); err != nil {
				c.turn(err)
				return 0, io.ErrUnexpectedEOF
			}
		}
		within := time.Now().Add(frameWithin)
		if whole {
			within = time.Time{}
		}
		_ = c.SetReadDeadline(within)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.turn(fmt.Errorf("a message was begun and not ended within %v", frameWithin))
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// honest judges the header of a message. The transport falls over one of another
// type than request about a call that is being answered.
func (c *admitted) honest() error {
	if kind := c.in.header[frameTypeAt]; kind != frameRequest {
		return fmt.Errorf("a message of type %d, only requests are taken", kind)
	}
	if c.in.left > maxFrame {
		return fmt.Errorf("a message of %d bytes, at most %d are taken", c.in.left, maxFrame)
	}
	return nil
}

// admit waits until there is room for a call and it is its turn, and takes it. It
// reports false once the connection is closed.
func (c *admitted) admit() bool {
	c.mu.Lock()
	for c.room == 0 && !c.closed {
		c.freed.Wait()
	}
	c.room--
	open := !c.closed
	c.mu.Unlock()
	if !open || c.pace == nil {
		return open
	}
	reserved := c.pace.Reserve()
	turn := time.NewTimer(reserved.Delay())
	defer turn.Stop()
	select {
	case <-turn.C:
		return true
	case <-c.ended:
		reserved.Cancel()
		return false
	}
}

// Write implements [net.Conn]. Who does not take its answers is left.
func (c *admitted) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(frameWithin)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	for rest := p[:n]; len(rest) > 0; {
		part := rest[:min(len(rest), c.out.next())]
		rest = rest[len(part):]
		if _, whole := c.out.advance(part); whole {
			c.mu.Lock()
			c.room++
			c.mu.Unlock()
			c.freed.Signal()
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.turn(fmt.Errorf("an answer was not taken within %v", frameWithin))
	}
	return n, err
}

// Close implements [net.Conn].
func (c *admitted) Close() error {
	c.leave()
	c.mu.Lock()
	if !c.closed {
		close(c.ended)
	}
	c.closed = true
	c.mu.Unlock()
	c.freed.Broadcast()
	return c.Conn.Close()
}
