// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
)

//go:embed page
var files embed.FS

// page serves the status on loopback: / for people, live by /events, and the rest as
// JSON. It only reads.
type page struct {
	r        *reflex
	watchers chan struct{} // a place a live page
	drawn    drawn
	closing  chan struct{}

	server *http.Server
	listen net.Listener
	done   chan struct{}

	serving atomic.Bool
}

func newReads(r *reflex) *page {
	return &page{r: r, watchers: make(chan struct{}, mostLive), closing: make(chan struct{}), done: make(chan struct{})}
}

// answers serves what programs ask for.
func (p *page) answers(mux *http.ServeMux) {
	mux.HandleFunc("GET /status", p.status)
	mux.HandleFunc("GET /journal", p.journal)
	mux.HandleFunc("GET /history", p.history)
	mux.HandleFunc("GET /episodes", p.episodes)
	mux.HandleFunc("GET /episodes/{id}", p.episode)
	mux.HandleFunc("GET /observed", p.observed)
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
	p := newReads(r)
	p.listen = listen
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.human)
	mux.HandleFunc("GET /events", p.live)
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		mux.HandleFunc("GET /page/"+name, func(w http.ResponseWriter, req *http.Request) { http.ServeFileFS(w, req, files, "page/"+name) })
	}
	p.answers(mux)
	p.server = newServer(local(mux))
	return p, nil
}

// serve answers from now on; until then whoever connects waits. A nil page serves none.
func (p *page) serve() {
	if p == nil {
		return
	}
	p.serving.Store(true)
	go func() {
		defer close(p.done)
		if err := p.server.Serve(p.listen); !errors.Is(err, http.ErrServerClosed) {
			p.r.logger.Warn("the status page ended", zap.Error(err))
		}
	}()
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

// contentPolicy keeps the page to what this server gives it.
const contentPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

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
		if req.Header.Get("Sec-Fetch-Site") == "cross-site" { // it could not read the answer, but it costs something to make
			http.Error(w, "not for other sites", http.StatusForbidden)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", contentPolicy)
		next.ServeHTTP(w, req)
	})
}

func (p *page) close() error {
	close(p.closing)
	if !p.serving.Load() {
		return p.listen.Close()
	}
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

func (p *page) history(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, p.r.logger, p.r.history.read())
}

// TellingStatus is an episode in the words that reflexctl explain has for it.
type TellingStatus struct {
	*story.Story
	Explanation story.Prose `json:"explanation"`
}

// episodes serves all that the journal has, newest first.
func (p *page) episodes(w http.ResponseWriter, _ *http.Request) {
	stories, _ := p.r.library.read(p.r.journal)
	now, out := p.r.wall(), make([]TellingStatus, 0, len(stories))
	for _, s := range slices.Backward(stories) {
		out = append(out, TellingStatus{s, s.Tell(now)})
	}
	writeJSON(w, p.r.logger, out)
}

// episode serves the one whose id begins so.
func (p *page) episode(w http.ResponseWriter, req *http.Request) {
	stories, _ := p.r.library.read(p.r.journal)
	id := strings.ToLower(req.PathValue("id"))
	var found *story.Story
	for _, s := range stories {
		if strings.HasPrefix(s.ID, id) {
			if found != nil {
				http.Error(w, "several episodes begin so", http.StatusConflict)
				return
			}
			found = s
		}
	}
	if found == nil {
		http.Error(w, "the journal has no such episode", http.StatusNotFound)
		return
	}
	writeJSON(w, p.r.logger, TellingStatus{found, found.Tell(p.r.wall())})
}

// observed serves what would have been done within ?since= (24h).
func (p *page) observed(w http.ResponseWriter, req *http.Request) {
	since := observedSince
	if v := req.FormValue("since"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 {
			http.Error(w, "since: not a duration such as 24h", http.StatusBadRequest)
			return
		}
		since = d
	}
	stories, records := p.r.library.read(p.r.journal)
	writeJSON(w, p.r.logger, story.Observe(stories, records, p.r.wall(), since))
}

func (p *page) human(w http.ResponseWriter, _ *http.Request) {
	v := p.look()
	var text bytes.Buffer
	if err := pageTemplate.ExecuteTemplate(&text, "page", &v); err != nil {
		p.r.logger.Warn("the status page could not be written", zap.Error(err))
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes())
}
