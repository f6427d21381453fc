// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
)

// Record is a log event as it arrived.
type Record struct {
	Event  string
	Said   string // what must be the same whenever it comes, and as the journal says
	At     time.Time
	Copies int
	// Altered says that two copies were not the same.
	Altered bool
}

// Backend takes OTLP over HTTP as it is told to, and keeps what arrived by record id.
type Backend struct {
	Address string // host:port of the listener
	server  *http.Server
	conns   sync.Map // net.Conn of those connected
	hang    atomic.Pointer[chan struct{}]
	code    atomic.Int32

	mu      sync.Mutex
	records map[string]*Record
	spans   int
	points  int
	arrived time.Time
}

// Serve starts a backend on a listener.
func Serve(listener net.Listener) *Backend {
	b := &Backend{Address: listener.Addr().String(), records: map[string]*Record{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/logs", b.take(b.logs))
	mux.HandleFunc("POST /v1/traces", b.take(func([]byte) error { b.spans++; return nil }))
	mux.HandleFunc("POST /v1/metrics", b.take(func([]byte) error { b.points++; return nil }))
	b.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	b.Return(listener)
	return b
}

// Close ends it; who is connected is cut off.
func (b *Backend) Close() { b.Answer(); b.Leave() }

// Leave lets nobody listen any more; who is connected is cut off.
func (b *Backend) Leave() { _ = b.server.Close() }

// Return listens again, with what has arrived.
func (b *Backend) Return(listener net.Listener) {
	b.server = &http.Server{
		Handler: b.server.Handler, ReadHeaderTimeout: b.server.ReadHeaderTimeout,
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				b.conns.Delete(c)
			} else {
				b.conns.Store(c, nil)
			}
		},
	}
	server := b.server
	go func() { _ = server.Serve(listener) }()
}

// Cut cuts off who is connected, and takes whoever connects again.
func (b *Backend) Cut() {
	b.conns.Range(func(c, _ any) bool {
		_ = c.(net.Conn).Close()
		return true
	})
}

// Hang lets no request be answered until Answer.
func (b *Backend) Hang() {
	wait := make(chan struct{})
	b.hang.Store(&wait)
}

// Refuse answers every request with a code until Answer.
func (b *Backend) Refuse(code int) { b.code.Store(int32(code)) } //nolint:gosec // an HTTP code

// Answer takes everything again.
func (b *Backend) Answer() {
	b.code.Store(0)
	if wait := b.hang.Swap(nil); wait != nil {
		close(*wait)
	}
}

func (b *Backend) take(keep func([]byte) error) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		body, err := read(req)
		if wait := b.hang.Load(); wait != nil {
			select {
			case <-*wait:
			case <-req.Context().Done():
			}
			panic(http.ErrAbortHandler) // no answer is no answer, whoever still waits for one
		}
		if code := b.code.Load(); code != 0 {
			w.WriteHeader(int(code))
			return
		}
		if err == nil {
			b.mu.Lock()
			err = keep(body)
			b.mu.Unlock()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

func read(req *http.Request) ([]byte, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil || req.Header.Get("Content-Encoding") != "gzip" {
		return body, err
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func (b *Backend) logs(body []byte) error {
	request := plogotlp.NewExportRequest()
	if err := request.UnmarshalProto(body); err != nil {
		return err
	}
	for _, rl := range request.Logs().ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, lr := range sl.LogRecords().All() {
				b.record(lr)
			}
		}
	}
	return nil
}

func (b *Backend) record(lr plog.LogRecord) {
	id := text(lr.Attributes(), "reflex.record.id")
	got := Record{Event: lr.EventName(), At: lr.Timestamp().AsTime(), Said: said(
		text(lr.Attributes(), "reflex.reason"), text(lr.Attributes(), "reflex.level.name"), text(lr.Attributes(), "reflex.cgroup.path"),
		text(lr.Attributes(), "reflex.verdict"), text(lr.Attributes(), "reflex.action.cause"))}
	known := b.records[id]
	if known == nil {
		known = &got
		b.records[id] = known
	}
	known.Copies++
	// A collector that is started again finds the wall clock of the boot anew.
	known.Altered = known.Altered || known.Said != got.Said || known.Event != got.Event || known.At.Sub(got.At).Abs() > time.Millisecond
	b.arrived = time.Now()
}

// said is what is compared of a record.
func said(reason, level, cgroup, verdict, cause string) string {
	return fmt.Sprintf("level %s: %s: %s %s %s", level, reason, cgroup, verdict, cause)
}

func text(m pcommon.Map, key string) string {
	if v, ok := m.Get(key); ok {
		return v.AsString()
	}
	return ""
}

// Records returns what has arrived so far.
func (b *Backend) Records() map[string]Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]Record, len(b.records))
	for id, r := range b.records {
		out[id] = *r
	}
	return out
}

// Others returns how many requests of traces and of metrics have arrived.
func (b *Backend) Others() (traces, metrics int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spans, b.points
}
