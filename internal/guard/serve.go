// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/unixsocket"
)

const (
	// maxConnections and maxCalls bound what even the rightful peer can occupy.
	// Some connections are root's alone, so that an operator gets through to a
	// guard whose collector has taken the rest.
	maxConnections = 16
	ofRoot         = 4
	maxCalls       = maxConnections * window
	// reportRate is how many reports a second the collector is given, reportBurst how
	// many at once. One is as long as a hundred orders, and is in memory until it is
	// taken.
	reportRate  = 5
	reportBurst = 3
)

// ErrBusySocket says that another guard answers on the socket.
var ErrBusySocket = unixsocket.ErrBusy

// Serve answers orders on a unix socket until ctx is done. The socket is of
// mode 0600 and belongs to uid; only that user and root are answered. Whoever
// is connected is on the safelist, with its cgroup and all that cgroup's
// ancestors. A socket that nobody answers on is replaced.
func Serve(ctx context.Context, g *Guard, socket string, uid int) error {
	l, err := unixsocket.Listen(socket, uid)
	if err != nil {
		return fmt.Errorf("serve guard: %w", err)
	}
	return serve(ctx, g, l, uid)
}

func serve(ctx context.Context, g *Guard, l net.Listener, uid int) error {
	return serveAs(ctx, g, l, uid, unixsocket.Peer)
}

func serveAs(ctx context.Context, g *Guard, l net.Listener, uid int, credentials func(net.Conn) (*unix.Ucred, error)) error {
	admission := &admission{guard: g, uid: uid, credentials: credentials, pace: rate.NewLimiter(callRate, callBurst)}
	server, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(admission))
	if err != nil {
		return errors.Join(fmt.Errorf("serve guard: %w", err), l.Close())
	}
	server.RegisterService(serviceName, service(g))
	// What the transport has to say anybody can make it say, without end; the
	// audit has it once.
	ctx = log.WithLogger(ctx, quiet())
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	ofRoot := newApart(l.Addr())
	var root sync.WaitGroup
	root.Go(func() { _ = server.Serve(rootOrders(ctx, uid), ofRoot) }) // it ends with the other
	err = server.Serve(ctx, &sorted{Listener: l, apart: ofRoot, credentials: credentials})
	_ = ofRoot.Close()
	root.Wait()
	if err != nil && !errors.Is(err, ttrpc.ErrServerClosed) {
		return fmt.Errorf("serve guard: %w", err)
	}
	return nil
}

func quiet() *log.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func service(g *Guard) *ttrpc.ServiceDesc {
	var reporting sync.Mutex // a status is large: one at a time
	reports := rate.NewLimiter(reportRate, reportBurst)
	telling := func(answer func() (*wrapperspb.BytesValue, error)) ttrpc.Method {
		return func(ctx context.Context, unmarshal func(any) error) (any, error) {
			var message wrapperspb.BytesValue
			if err := unmarshal(&message); err != nil {
				return nil, err
			}
			if ordererOf(ctx) != byOperator {
				if err := reports.Wait(ctx); err != nil {
					return nil, status.Error(codes.ResourceExhausted, err.Error())
				}
			}
			return answer()
		}
	}
	calls := make(chan struct{}, maxCalls)
	limited := func(method ttrpc.Method) ttrpc.Method {
		return func(ctx context.Context, unmarshal func(any) error) (any, error) {
			select {
			case calls <- struct{}{}:
				defer func() { <-calls }()
				return method(ctx, unmarshal)
			default:
				g.log.turnAway(g.config.Clock(), fmt.Errorf("%d calls are being answered, no more are at a time", maxCalls))
				return nil, status.Errorf(codes.ResourceExhausted, "the guard answers %d calls already", maxCalls)
			}
		}
	}
	return &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		methodAct: limited(func(ctx context.Context, unmarshal func(any) error) (any, error) {
			var (
				message wrapperspb.BytesValue
				wire    wireOrder
				out     arc.Outcome
			)
			err := unmarshal(&message)
			if err == nil {
				err = unpack(&message, &wire)
			}
			if err != nil {
				g.log.turnAway(g.config.Clock(), err)
				return nil, status.Error(codes.InvalidArgument, err.Error())
			}
			order, err := wire.order()
			if err != nil {
				g.log.turnAway(g.config.Clock(), err)
				out.Verdict, out.Cause = arc.VerdictRefused, err.Error()
				return pack(outcomeToWire(&out))
			}
			if err := g.actFor(ctx, ordererOf(ctx), order, &out); err != nil {
				return nil, err
			}
			return pack(outcomeToWire(&out))
		}),
		methodStatus: limited(telling(func() (*wrapperspb.BytesValue, error) {
			reporting.Lock()
			defer reporting.Unlock()
			return pack(g.Status())
		})),
		methodLeases: limited(telling(func() (*wrapperspb.BytesValue, error) { return pack(g.Leases()) })),
	}}
}

// admission lets in the configured user and root, a few at a time.
type admission struct {
	guard       *Guard
	uid         int
	credentials func(net.Conn) (*unix.Ucred, error)
	pace        *rate.Limiter // of the calls of all but operators

	mu   sync.Mutex
	open int
}

// Handshake implements ttrpc.Handshaker.
func (a *admission) Handshake(_ context.Context, conn net.Conn) (net.Conn, any, error) {
	peer, err := a.admit(conn)
	if err != nil {
		a.guard.log.turnAway(a.guard.config.Clock(), err)
		return nil, nil, err
	}
	turn := func(cause error) { a.guard.log.turnAway(a.guard.config.Clock(), cause) }
	pace := a.pace
	if peer.Uid == 0 && a.uid != 0 {
		pace = nil // an operator, who does not wait for others
	}
	return newAdmitted(conn, sync.OnceFunc(a.leave(peer)), turn, pace), peer, nil
}

func (a *admission) admit(conn net.Conn) (*unix.Ucred, error) {
	peer, err := a.credentials(conn)
	if err != nil {
		return nil, fmt.Errorf("who connected cannot be known: %w", err)
	}
	if peer.Uid != 0 && int64(peer.Uid) != int64(a.uid) {
		return nil, fmt.Errorf("uid %d may not give orders", peer.Uid)
	}
	most := maxConnections
	if peer.Uid != 0 {
		most -= ofRoot
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open >= most {
		return nil, fmt.Errorf("%d connections are open, no more are allowed to uid %d", most, peer.Uid)
	}
	a.open++
	return peer, nil
}

func (a *admission) leave(peer *unix.Ucred) func() {
	forget := a.guard.Protect(int(peer.Pid))
	return func() {
		forget()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.open--
	}
}
