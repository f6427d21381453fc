// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// FrameSize is the length of a request and of an answer in bytes: the first
// eight are the request's number, little-endian; an answer's bytes 8 to 40 are
// the digest of what was read.
const FrameSize = 64

// Service answers requests.
type Service struct {
	// Listen is the address and port to listen on; "" is any port of loopback.
	Listen string
	// Resident is the size of the working set in bytes, touched before the
	// service is ready.
	Resident int
	// Work is how many bytes of the working set a request reads.
	Work int
	// Wait is how long a request then waits, as for an answer of somebody else.
	Wait time.Duration
	// LeakRate is in bytes a second, once told to leak.
	LeakRate int
	// LeakRequest is in bytes a request, once told to leak.
	LeakRequest int
	// Churn is how many bytes a request takes and gives back.
	Churn int
	// Threads is how many requests can be held up at once, by memory; 0 is one.
	Threads int
	// OnsetFile receives "<boottime ns> <wall ns>\n" as the leak starts.
	OnsetFile string

	leaking atomic.Bool // with each request
	leaked  heap
}

// Run serves until ctx ends. It announces itself on ready with one line,
// "ready <address>", and starts to leak when orders brings the line
// "leak <boottime ns>".
func (s *Service) Run(ctx context.Context, orders io.Reader, ready io.Writer) error {
	// A thread held at memory.high cannot be stopped for a collection, and
	// would hold every other thread of a collected program with it.
	debug.SetGCPercent(-1)
	// One processor answers; another is for the leak to be held up in. More would
	// only wake one another.
	threads := max(s.Threads, 1)
	if s.LeakRate > 0 {
		threads++
	}
	runtime.GOMAXPROCS(threads)

	set, err := Resident(s.Resident)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cmp.Or(s.Listen, "127.0.0.1:0"))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go s.obey(orders)
	if _, err := fmt.Fprintf(ready, "ready %s\n", l.Addr()); err != nil {
		return fmt.Errorf("announce readiness: %w", err)
	}
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		}
		go s.answer(conn, set)
	}
}

// obey reads orders until there are none left. An order to leak is obeyed once.
func (s *Service) obey(orders io.Reader) {
	lines := bufio.NewScanner(orders)
	for lines.Scan() {
		when, ok := strings.CutPrefix(lines.Text(), "leak ")
		if !ok {
			continue
		}
		at, err := strconv.ParseInt(when, 10, 64)
		if err != nil {
			fmt.Fprintf(os.Stderr, "order to leak: %v\n", err)
			continue
		}
		if s.LeakRequest > 0 {
			err = s.leakRequests(at)
		} else {
			err = Leak(s.LeakRate, at, s.began)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
}

// leakRequests has requests leak from the instant at on.
func (s *Service) leakRequests(at int64) error {
	if err := s.leaked.reserve(); err != nil {
		return err
	}
	time.AfterFunc(time.Duration(at-Now()), func() {
		s.began(Now(), time.Now().UnixNano())
		s.leaking.Store(true)
	})
	return nil
}

// began tells of the onset.
func (s *Service) began(boot, wall int64) {
	if err := os.WriteFile(s.OnsetFile, fmt.Appendf(nil, "%d %d\n", boot, wall), 0o644); err != nil {
		fmt.Fprintf(os.Stderr, "write the onset: %v\n", err)
	}
}

// request takes the memory of one request.
func (s *Service) request() error {
	if s.leaking.Load() {
		s.leaked.take(s.LeakRequest / pageSize)
	}
	return churn(s.Churn)
}

// answer serves one connection until its client leaves.
func (s *Service) answer(conn net.Conn, set []byte) {
	defer conn.Close()
	frame := make([]byte, FrameSize)
	for {
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		if err := s.request(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
		digest := sha256.Sum256(piece(set, s.Work, binary.LittleEndian.Uint64(frame)))
		copy(frame[8:], digest[:])
		time.Sleep(s.Wait)
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

// piece is the part of the working set that request number reads: pseudo-random
// and the same in every run.
func piece(set []byte, work int, number uint64) []byte {
	if len(set) <= work {
		return set
	}
	pages := uint64(len(set)-work) / pageSize
	number *= 0x9e3779b97f4a7c15 // Knuth's multiplicative hash, 64 bit
	number ^= number >> 29
	start := int(number%(pages+1)) * pageSize
	return set[start : start+work]
}
