// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
)

// Format says what a target understands.
type Format string

// The formats.
const (
	// Alertmanager posts alerts to /api/v2/alerts below the URL.
	Alertmanager Format = "alertmanager"
	// JSON posts one message a record to the URL.
	JSON Format = "json"
)

const (
	// resendEvery is how often an open alert is sent again: Alertmanager takes one that
	// is not for resolved after its end, four times as long.
	resendEvery = time.Minute
	// between spaces two messages, so that what has gathered is not sent all at once.
	between = 100 * time.Millisecond
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 4 << 10
	// lastRetry is the longest time between two attempts.
	lastRetry = time.Minute
)

// Settings are those of one target.
type Settings struct {
	URL    *url.URL
	Format Format
	// Secret signs JSON; empty signs nothing. Header is added to every request.
	Secret []byte
	Header http.Header
	// MinLevel is the level that an episode must reach to be told.
	MinLevel int
	// Timeout bounds an attempt, Retries how many follow the first, FirstRetry the time
	// before the first of them, which doubles.
	Timeout    time.Duration
	Retries    int
	FirstRetry time.Duration
	// AllowLinkLocal permits targets that are refused otherwise.
	AllowLinkLocal bool
	TLS            *tls.Config
	// Host is the name of this machine, Version that of the collector, and Page the
	// status page's URL, if there is one.
	Host, Version, Page string
	Now                 func() time.Time
	Logger              *zap.Logger
	// Count is called with what became of so many messages: see the results.
	Count func(result string, n int)
}

// What becomes of a message.
const (
	Delivered = "delivered"
	Refused   = "refused" // by the target, for good
	GaveUp    = "gave_up" // after all retries
	Missed    = "missed"  // the journal displaced it first
)

// Stats describes a target at one moment.
type Stats struct {
	// Target is its scheme and host: a path may be a secret.
	Target string `json:"target"`
	Format Format `json:"format"`
	// Delivered counts messages, Failed those that were refused, given up or missed.
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	// Trouble is why the last attempt failed, "" if it did not.
	Trouble string `json:"trouble,omitempty"`
}

// Hook is one target.
type Hook struct {
	settings Settings
	journal  *episode.Journal
	reader   string // its name in the journal
	client   *http.Client

	cursor uint64
	open   map[string]bool // episodes that the target believes to be open

	mu    sync.Mutex
	stats Stats
}

// New returns a hook that goes on where the journal says that its reader was. One that the
// journal does not know begins with what is new: nobody wants to be told of last week.
func New(s Settings, j *episode.Journal, reader string) *Hook {
	cursor := j.Marked(reader)
	if cursor == 0 {
		cursor = j.Began()
	}
	return &Hook{
		settings: s, journal: j, reader: reader, client: newClient(&s), cursor: cursor, open: map[string]bool{},
		stats: Stats{Target: s.URL.Scheme + "://" + s.URL.Host, Format: s.Format},
	}
}

// Stats returns how it stands.
func (h *Hook) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stats
}

// Run tells what the journal gets until ctx ends.
func (h *Hook) Run(ctx context.Context) {
	resend := time.NewTicker(resendEvery)
	defer resend.Stop()
	defer h.client.CloseIdleConnections()
	for ctx.Err() == nil {
		wake := h.journal.Wait()
		if h.news(ctx) {
			select {
			case <-resend.C: // also where there is no end of news
				h.resend(ctx)
			default:
			}
			continue
		}
		select {
		case <-wake:
		case <-resend.C:
			h.resend(ctx)
		case <-ctx.Done():
		}
	}
}

// news tells the records after the cursor, and reports whether there were any.
func (h *Hook) news(ctx context.Context) bool {
	fresh := h.journal.Read(h.cursor, nil)
	if len(fresh) == 0 {
		return false
	}
	last := fresh[len(fresh)-1].ID
	if missed := last - h.cursor - uint64(len(fresh)); missed > 0 {
		h.count(Missed, int(missed), nil) //nolint:gosec // a count
	}
	fresh = slices.DeleteFunc(fresh, func(r episode.Record) bool { return r.Routine() || r.Episode == (episode.ID{}) })
	if len(fresh) > 0 {
		stories := map[string]*story.Story{}
		for _, s := range story.All(h.journal.Read(0, nil)) {
			stories[s.ID] = s
		}
		if h.settings.Format == Alertmanager {
			h.alerts(ctx, fresh, stories)
		} else {
			h.messages(ctx, fresh, stories)
		}
	}
	if ctx.Err() == nil {
		h.done(last)
		_ = wait(ctx, between) // there may be more news at every tick
	}
	return true
}

func (h *Hook) done(id uint64) {
	h.cursor = id
	h.journal.Mark(h.reader, id)
}

// worth returns the story of a record that is to be told.
func (h *Hook) worth(r *episode.Record, stories map[string]*story.Story) *story.Story {
	s := stories[episode.FormatID(r.Episode)]
	if s == nil || s.Highest < h.settings.MinLevel {
		return nil
	}
	return s
}

// messages posts one message a record.
func (h *Hook) messages(ctx context.Context, fresh []episode.Record, stories map[string]*story.Story) {
	for i := range fresh {
		r := &fresh[i]
		s := h.worth(r, stories)
		if s == nil {
			continue
		}
		body, id, err := h.message(r, s)
		if err != nil {
			h.count(Refused, 1, err)
			continue
		}
		if h.send(ctx, h.settings.URL, id, func() []byte { return body }, 1); ctx.Err() != nil {
			return
		}
		h.done(r.ID)
		if wait(ctx, between) != nil {
			return
		}
	}
}

// alerts posts the episodes that there is news of.
func (h *Hook) alerts(ctx context.Context, fresh []episode.Record, stories map[string]*story.Story) {
	var of []*story.Story
	for i := range fresh {
		if s := h.worth(&fresh[i], stories); s != nil && !slices.Contains(of, s) {
			of = append(of, s)
		}
	}
	h.post(ctx, of)
}

// resend posts the open episodes again.
func (h *Hook) resend(ctx context.Context) {
	if h.settings.Format != Alertmanager || len(h.open) == 0 {
		return
	}
	var of []*story.Story
	for _, s := range story.All(h.journal.Read(0, nil)) {
		if h.open[s.ID] {
			of = append(of, s)
		}
	}
	h.post(ctx, of)
}

func (h *Hook) post(ctx context.Context, of []*story.Story) {
	if len(of) == 0 {
		return
	}
	for _, s := range of {
		if s.Closed == nil {
			h.open[s.ID] = true
		} else {
			delete(h.open, s.ID)
		}
	}
	h.send(ctx, h.settings.URL.JoinPath("api/v2/alerts"), "", func() []byte { // anew for each attempt: an open alert has an end
		now := h.settings.Now()
		alerts := make([]alert, 0, len(of))
		for _, s := range of {
			alerts = append(alerts, h.alert(s, now))
		}
		body, _ := json.Marshal(alerts) // of strings and times
		return body
	}, len(of))
}

// send posts a body, again while that may help and there are retries left.
func (h *Hook) send(ctx context.Context, to *url.URL, id string, body func() []byte, n int) {
	for attempt := 0; ; attempt++ {
		after, err := h.attempt(ctx, to, id, body())
		switch {
		case err == nil:
			h.count(Delivered, n, nil)
			return
		case ctx.Err() != nil:
			return // told by the next collector, if it knows where this one was
		case after < 0:
			h.count(Refused, n, err)
			return
		case attempt == h.settings.Retries:
			h.count(GaveUp, n, err)
			return
		}
		h.trouble(err)
		pause := min(h.settings.FirstRetry<<min(attempt, 16), lastRetry)
		pause -= rand.N(pause/2 + 1) //nolint:gosec // not a secret
		if wait(ctx, max(pause, min(after, lastRetry))) != nil {
			return
		}
	}
}

// attempt posts once. After says when to try again at the earliest: negative for never.
func (h *Hook) attempt(ctx context.Context, to *url.URL, id string, body []byte) (after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return -1, errors.New("the URL cannot be used")
	}
	for key, values := range h.settings.Header {
		request.Header[key] = values
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "otelcol-reflex/"+h.settings.Version)
	if id != "" {
		timestamp := strconv.FormatInt(h.settings.Now().Unix(), 10)
		request.Header.Set(HeaderDelivery, id)
		request.Header.Set(HeaderTimestamp, timestamp)
		if len(h.settings.Secret) > 0 {
			request.Header.Set(HeaderSignature, Sign(h.settings.Secret, timestamp, body))
		}
	}
	answer, err := h.client.Do(request)
	if err != nil {
		if e := new(url.Error); errors.As(err, &e) {
			err = e.Err // without the URL, whose path may be a secret
		}
		if errors.Is(err, ErrTarget) {
			return -1, err
		}
		return 0, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	if answer.StatusCode/100 == 2 {
		return 0, nil
	}
	// What else it says may repeat what it was sent, secrets included.
	err = fmt.Errorf("the answer is %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	switch code := answer.StatusCode; {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		seconds, _ := strconv.Atoi(answer.Header.Get("Retry-After"))
		return time.Duration(max(0, min(seconds, 3600))) * time.Second, err
	}
	return -1, err
}

func (h *Hook) count(result string, n int, err error) {
	h.mu.Lock()
	if result == Delivered {
		h.stats.Delivered += uint64(n) //nolint:gosec // a count
	} else {
		h.stats.Failed += uint64(n) //nolint:gosec // a count
	}
	h.mu.Unlock()
	h.settings.Count(result, n)
	if err != nil {
		h.settings.Logger.Warn("a webhook was not told", zap.String("target", h.stats.Target), zap.String("result", result), zap.Int("messages", n), zap.Error(err))
	}
	if result != Missed {
		h.trouble(err)
	}
}

func (h *Hook) trouble(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stats.Trouble = ""
	if err != nil {
		h.stats.Trouble = err.Error()
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
