// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// Silent is an OTLP backend that accepts connections and requests and never
// answers one, over gRPC as over HTTP.
type Silent struct {
	Address  string
	accepted atomic.Int64
}

// Accepted returns the number of requests that wait for an answer.
func (s *Silent) Accepted() int { return int(s.accepted.Load()) }

// StartSilent starts the backend on the loopback until the test ends.
func StartSilent(t testing.TB) *Silent {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Silent{Address: listener.Addr().String()}
	hang, release := context.WithCancel(context.Background())
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Protocols:         new(http.Protocols),
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			s.accepted.Add(1)
			_, _ = io.Copy(io.Discard, r.Body)
			<-hang.Done()
		}),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true) // what gRPC without TLS speaks
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	t.Cleanup(func() {
		release()
		_ = server.Close()
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the silent backend: %v", err)
		}
	})
	return s
}
