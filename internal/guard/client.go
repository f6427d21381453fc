// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/faultpoint"
)

// callTimeout bounds every call, connecting included.
const callTimeout = 2 * time.Second

// Client gives orders to a guard on a socket. It connects when it is first
// used and again whenever the connection was lost, so that it survives the
// guard's restarts. It is safe for concurrent use.
type Client struct {
	socket string

	mu     sync.Mutex
	closed bool
	conn   *ttrpc.Client
}

var (
	_ arc.Actuator = (*Client)(nil)
	_ arc.Actuator = (*Guard)(nil)
)

// Dial returns a client of the guard at a socket. It does not connect yet.
func Dial(socket string) *Client { return &Client{socket: socket} }

// Act implements [arc.Actuator]. It takes at most two seconds.
func (c *Client) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	var answer wireOutcome
	if err := c.call(ctx, methodAct, toWire(&o), &answer); err != nil {
		return err
	}
	var err error
	*out, err = answer.outcome()
	return err
}

// Status asks the guard for its status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, methodStatus, struct{}{}, &s)
	return s, err
}

// Leases asks the guard what it holds: a small part of its status.
func (c *Client) Leases(ctx context.Context) ([]Lease, error) {
	var held []Lease
	err := c.call(ctx, methodLeases, struct{}{}, &held)
	return held, err
}

// Close closes the connection; the client cannot be used afterwards.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

func (c *Client) call(ctx context.Context, method string, request, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	message, err := pack(request)
	if err != nil {
		return err
	}
	for attempt := 0; ; attempt++ {
		conn, err := c.connect(ctx)
		if errors.Is(err, unix.EACCES) { // the socket is its owner's alone
			return fmt.Errorf("guard is not reachable at %s: %w: start reflexguard with --uid=%d", c.socket, err, os.Geteuid())
		}
		if err != nil {
			return fmt.Errorf("guard is not reachable at %s: %w", c.socket, err)
		}
		var reply wrapperspb.BytesValue
		faultpoint.Pass("order")
		err = conn.Call(ctx, serviceName, method, message, &reply)
		switch {
		case err == nil:
			faultpoint.Pass("answer")
			return unpack(&reply, answer)
		case errors.Is(err, ttrpc.ErrClosed) && attempt == 0:
			// The guard was restarted since the last call. An order that it may
			// have carried out before it went is the same order still.
			c.drop(conn)
			continue
		case ctx.Err() != nil || errors.Is(err, ttrpc.ErrClosed):
			c.drop(conn) // a connection that does not answer is not kept
			return fmt.Errorf("guard is not reachable at %s: %w", c.socket, err)
		}
		return fmt.Errorf("guard at %s: %w", c.socket, err)
	}
}

func (c *Client) connect(ctx context.Context) (*ttrpc.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, net.ErrClosed
	}
	if c.conn != nil {
		return c.conn, nil
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	c.conn = ttrpc.NewClient(&hurried{conn})
	return c.conn, nil
}

// drop forgets a connection, unless another caller has replaced it already.
func (c *Client) drop(conn *ttrpc.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = conn.Close()
	if c.conn == conn {
		c.conn = nil
	}
}

// hurried bounds writes, which a guard that is stopped would hold up once the
// socket is full.
type hurried struct{ net.Conn }

func (c *hurried) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(callTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
