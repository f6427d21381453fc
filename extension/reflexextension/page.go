// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

//go:embed page.html
var files embed.FS

var pageTemplate = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"number":  number,
	"size":    size,
	"seconds": func(f float64) string { return time.Duration(f * 1e9).Round(100 * time.Millisecond).String() },
	"level":   episode.LevelName,
}).ParseFS(files, "page.html"))

// shownRecords is how many records the human page shows.
const shownRecords = 25

// page serves the status on loopback: / for people, /status and /journal as
// JSON. It only reads.
type page struct {
	r      *reflex
	server *http.Server
	listen net.Listener
	done   chan struct{}
}

// newPage listens at the configured endpoint; nil where none is configured.
func newPage(r *reflex) (*page, error) {
	if r.cfg.Status.Endpoint == "" {
		return nil, nil
	}
	listen, err := net.Listen("tcp", r.cfg.Status.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("listen at %s (set another endpoint, or \"\" for no status page): %w", r.cfg.Status.Endpoint, err)
	}
	p := &page{r: r, listen: listen, done: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.human)
	mux.HandleFunc("GET /status", p.status)
	mux.HandleFunc("GET /journal", p.journal)
	p.server = newServer(local(mux))
	go func() {
		defer close(p.done)
		if err := p.server.Serve(listen); !errors.Is(err, http.ErrServerClosed) {
			r.logger.Warn("the status page ended", zap.Error(err))
		}
	}()
	return p, nil
}

// newServer bounds what a client can occupy.
func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
}

// local refuses requests that were meant for another host: a web page somewhere
// must not read the status through a name that resolves to loopback.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		host, _, err := net.SplitHostPort(req.Host)
		if err != nil {
			host = req.Host
		}
		if len(host) > 2 && host[0] == '[' {
			host = host[1 : len(host)-1]
		}
		if !isLoopback(host) {
			http.Error(w, "served to loopback only", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		next.ServeHTTP(w, req)
	})
}

func (p *page) close() error {
	err := closeServer(p.server)
	<-p.done
	return err
}

func closeServer(s *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(ctx) == nil {
		return nil
	}
	return s.Close()
}

func (p *page) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, p.r.logger, p.r.status())
}

// journal serves the records with an id above ?after=, oldest first, at most
// ?limit= (1000).
func (p *page) journal(w http.ResponseWriter, req *http.Request) {
	after, limit := uint64(0), 1000
	if v := req.FormValue("after"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			http.Error(w, "after: not a number", http.StatusBadRequest)
			return
		}
		after = n
	}
	if v := req.FormValue("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 10000 {
			http.Error(w, "limit: not a number from 1 to 10000", http.StatusBadRequest)
			return
		}
		limit = n
	}
	held := p.r.journal.Stats().Held
	writeJSON(w, p.r.logger, p.r.journal.Read(after, make([]episode.Record, 0, max(1, min(limit, held)))))
}

func writeJSON(w http.ResponseWriter, logger *zap.Logger, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		logger.Warn("status could not be written as JSON", zap.Error(err))
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n'))
}

func (p *page) human(w http.ResponseWriter, _ *http.Request) {
	stats := p.r.journal.Stats()
	records := p.r.journal.Read(stats.Newest-min(stats.Newest, shownRecords), make([]episode.Record, 0, shownRecords))
	slices.Reverse(records)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pageTemplate.Execute(w, struct {
		Status
		Records []episode.Record
	}{p.r.status(), records}); err != nil {
		p.r.logger.Debug("the status page was not written", zap.Error(err))
	}
}

// number writes a number for a human, a dash for none.
func number(f *float64) string {
	if f == nil {
		return "–"
	}
	return strconv.FormatFloat(*f, 'g', 4, 64)
}

// size writes bytes for a human.
func size(b uint64) string {
	switch {
	case b >= arc.Unlimited:
		return "max"
	case b >= 1e9:
		return fmt.Sprintf("%.2f GB", float64(b)/1e9)
	case b >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(b)/1e6)
	}
	return fmt.Sprintf("%d B", b)
}
