// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// orderer is whose an order is, as the kernel knows it from when the connection was
// made.
type orderer uint8

const (
	// byCollector: its user, or a call, where the guard is embedded.
	byCollector orderer = iota
	// byRoot: root, who is the collector's user as well.
	byRoot
	// byOperator: root, who is not.
	byOperator
)

const (
	errOperatorsOnly = refusal("a quarantine of the node is an operator's alone: give the order as root")
	errWhoseOrder    = refusal("a quarantine of the node is an operator's alone, and the collector runs as root too: start the guard with --uid of a collector that does not")
)

// may reports why this orderer may not give an order, nil if it may.
func (w orderer) may(o *arc.Order) error {
	switch {
	case o.Action != arc.ActionNodeQuarantine || w == byOperator:
		return nil
	case w == byRoot:
		return errWhoseOrder
	}
	return errOperatorsOnly
}

// ordererKey is that of a context in which the transport answers calls: it tells
// them nothing else of the connection.
type ordererKey struct{}

func rootOrders(ctx context.Context, collector int) context.Context {
	if collector == 0 {
		return context.WithValue(ctx, ordererKey{}, byRoot)
	}
	return context.WithValue(ctx, ordererKey{}, byOperator)
}

func ordererOf(ctx context.Context) orderer {
	who, _ := ctx.Value(ordererKey{}).(orderer)
	return who
}

// sorted accepts connections, but for those of root, which it sets apart.
type sorted struct {
	net.Listener
	apart       *apart
	credentials func(net.Conn) (*unix.Ucred, error)
}

// Accept implements [net.Listener]. Who cannot be known is let in by nobody later.
func (s *sorted) Accept() (net.Conn, error) {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer, err := s.credentials(conn); err != nil || peer.Uid != 0 {
			return conn, nil //nolint:nilerr // see above
		}
		s.apart.put(conn)
	}
}

// apart is a listener that is given its connections.
type apart struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newApart(address net.Addr) *apart {
	return &apart{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (a *apart) put(conn net.Conn) {
	select {
	case a.conns <- conn:
	case <-a.closed:
		_ = conn.Close()
	}
}

// Accept implements [net.Listener].
func (a *apart) Accept() (net.Conn, error) {
	select {
	case conn := <-a.conns:
		return conn, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (a *apart) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

// Addr implements [net.Listener].
func (a *apart) Addr() net.Addr { return a.address }
