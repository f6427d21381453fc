// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// Client asks services on a fixed schedule ("open loop"): a service that falls
// behind is asked all the same.
type Client struct {
	// Rate is the number of requests a second to each service.
	Rate float64
	// Deadline is the longest wait for an answer, from when the request was due.
	Deadline time.Duration
	// Seed decides the jitter of the schedule: two clients of one seed ask
	// alike.
	Seed uint64
	// Connections is the number of requests that can be under way at once to a
	// service.
	Connections int
	// Queue is the number of requests that may wait for a connection; those beyond
	// it are turned away, and fail.
	Queue int
}

// Target is a service to ask.
type Target struct {
	Service string
	Address string
}

// errWrongAnswer is an answer to another question.
var errWrongAnswer = errors.New("the answer is for another request")

// Run asks all targets until ctx ends and hands each answer to record, which is
// called from many goroutines.
func (c *Client) Run(ctx context.Context, targets []Target, record func(recording.Answer)) {
	start := Now() + int64(100*time.Millisecond)
	var group sync.WaitGroup
	for i, target := range targets {
		requests := make(chan request, c.Queue)
		for range c.Connections {
			group.Go(func() { c.ask(target, requests, record) })
		}
		group.Go(func() {
			defer close(requests)
			c.schedule(ctx, start, rand.New(rand.NewPCG(c.Seed, uint64(i))), func(r request) {
				select {
				case requests <- r:
				default: // turned away
					record(recording.Answer{Service: target.Service, Intended: r.due, Latency: int64(c.Deadline)})
				}
			})
		})
	}
	group.Wait()
}

type request struct {
	number uint64
	due    int64
}

// schedule calls send for each request at the moment it is due.
func (c *Client) schedule(ctx context.Context, start int64, random *rand.Rand, send func(request)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	due := start
	for number := uint64(1); ; number++ {
		timer.Reset(time.Duration(due - Now()))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		send(request{number, due})
		due += int64(1e9 / c.Rate * (0.5 + random.Float64()))
	}
}

// ask carries requests to target over one connection, and over a new one after
// each failure.
func (c *Client) ask(target Target, requests <-chan request, record func(recording.Answer)) {
	var conn net.Conn
	frame := make([]byte, FrameSize)
	for r := range requests {
		left := time.Duration(r.due + int64(c.Deadline) - Now())
		if left <= 0 { // it waited too long for its turn: asking now helps nobody
			record(recording.Answer{Service: target.Service, Intended: r.due, Latency: int64(c.Deadline)})
			continue
		}
		deadline := time.Now().Add(left)
		var err error
		if conn == nil {
			conn, err = net.DialTimeout("tcp", target.Address, left)
		}
		if err == nil {
			err = exchange(conn, frame, r.number, deadline)
		}
		done := Now()
		if err != nil && conn != nil {
			_ = conn.Close()
			conn = nil
		}
		record(recording.Answer{
			Service: target.Service, Intended: r.due, Latency: done - r.due,
			OK: err == nil && done-r.due <= int64(c.Deadline),
		})
	}
	if conn != nil {
		_ = conn.Close()
	}
}

// exchange sends request number and reads its answer.
func exchange(conn net.Conn, frame []byte, number uint64, deadline time.Time) error {
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(frame, number)
	if _, err := conn.Write(frame); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, frame); err != nil {
		return err
	}
	if binary.LittleEndian.Uint64(frame) != number {
		return errWrongAnswer
	}
	return nil
}
