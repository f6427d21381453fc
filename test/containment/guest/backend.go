// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// backend takes OTLP over HTTP and answers at once, until it is told to hang.
type backend struct {
	address string
	waiting atomic.Int64 // requests that wait for an answer

	mu   sync.Mutex
	hung context.Context // done while it answers
	free context.CancelFunc
}

func startBackend() (*backend, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{address: listener.Addr().String()}
	b.hang()
	b.answer()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(b.serve)}
	go func() { _ = server.Serve(listener) }()
	return b, nil
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	b.mu.Lock()
	hung := b.hung
	b.mu.Unlock()
	b.waiting.Add(1)
	<-hung.Done()
	b.waiting.Add(-1)
	w.Header().Set("Content-Type", "application/x-protobuf") // an empty message is an answer
}

// hang leaves all requests from now on without an answer.
func (b *backend) hang() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hung, b.free = context.WithCancel(context.Background())
}

// answer answers all that wait, and those to come.
func (b *backend) answer() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free()
}
