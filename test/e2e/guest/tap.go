// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// Tap stands between a collector and the guard, passes everything on unchanged
// and notes when each order's tick was due and when its write returned. The
// journal has the orders that changed something; the tap has them all.
type Tap struct {
	Socket string
	mu     sync.Mutex
	orders []time.Duration // scheduled tick to the return of the write
}

// guardService is the guard's name on its socket.
const guardService = "reflex.guard.v1.Guard"

// StartTap listens on a socket of its own until the test ends.
func StartTap(t testing.TB) *Tap {
	t.Helper()
	tap := &Tap{Socket: filepath.Join(t.TempDir(), "tap.sock")}
	listener, err := net.Listen("unix", tap.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	server.RegisterService(guardService, &ttrpc.ServiceDesc{Methods: map[string]ttrpc.Method{
		"Act": tap.pass("Act", tap.note), "Status": tap.pass("Status", nil),
	}})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(context.Background(), listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, ttrpc.ErrServerClosed) {
			t.Errorf("the tap: %v", err)
		}
	})
	return tap
}

// pass returns a method that asks the guard the same and shows both messages to
// note.
func (tap *Tap) pass(method string, note func(request, reply []byte)) ttrpc.Method {
	var (
		mu     sync.Mutex
		client *ttrpc.Client
	)
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		var request, reply wrapperspb.BytesValue
		if err := unmarshal(&request); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if client == nil {
			conn, err := net.Dial("unix", guard.DefaultSocket)
			if err != nil {
				return nil, err
			}
			client = ttrpc.NewClient(conn)
		}
		if err := client.Call(ctx, guardService, method, &request, &reply); err != nil {
			_ = client.Close()
			client = nil
			return nil, err
		}
		if note != nil {
			note(request.GetValue(), reply.GetValue())
		}
		return &reply, nil
	}
}

func (tap *Tap) note(request, reply []byte) {
	var order struct {
		Scheduled int64 `json:"scheduled_ns"`
	}
	var outcome struct {
		Written int64 `json:"written_ns"`
	}
	if json.Unmarshal(request, &order) != nil || json.Unmarshal(reply, &outcome) != nil {
		return
	}
	if order.Scheduled > 0 && outcome.Written >= order.Scheduled {
		tap.mu.Lock()
		defer tap.mu.Unlock()
		tap.orders = append(tap.orders, time.Duration(outcome.Written-order.Scheduled))
	}
}

// TickToKnob returns, for every order that was written, the time between the
// scheduled tick and the return of the write.
func (tap *Tap) TickToKnob() []time.Duration {
	tap.mu.Lock()
	defer tap.mu.Unlock()
	return append([]time.Duration(nil), tap.orders...)
}
