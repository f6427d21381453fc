// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// liveEvery is how often a live page is looked at anew, liveBeat how often it hears
	// something when nothing has changed, and liveWithin how long it may take to read.
	liveEvery  = 250 * time.Millisecond
	liveBeat   = 10 * time.Second
	liveWithin = 5 * time.Second
	// mostLive bounds the pages that are live at a time.
	mostLive = 8
)

// live sends the sections of the page, all of them at first and then those that have
// changed, as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func (p *page) live(w http.ResponseWriter, req *http.Request) {
	select {
	case p.watchers <- struct{}{}:
		defer func() { <-p.watchers }()
	default:
		http.Error(w, "too many pages are live: close one", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	ticker := time.NewTicker(liveEvery)
	defer ticker.Stop()
	told := map[string]string{}
	for beat := time.Now(); ; {
		text, err := p.changed(told)
		if err != nil {
			p.r.logger.Warn("the live page was not written", zap.Error(err))
			return
		}
		if text == nil && time.Since(beat) >= liveBeat {
			text = []byte("event: beat\ndata: {}\n\n")
		}
		if text != nil {
			beat = time.Now()
			_ = control.SetWriteDeadline(beat.Add(liveWithin))
			if _, err := w.Write(text); err != nil || control.Flush() != nil {
				return
			}
		}
		select {
		case <-req.Context().Done():
			return
		case <-p.closing:
			return
		case <-ticker.C:
		}
	}
}

// drawn keeps the sections as they were last written: once for all live pages.
type drawn struct {
	mu       sync.Mutex
	at       time.Time
	sections map[string]string
}

// now returns the sections, which nobody may change.
func (d *drawn) now(p *page) (map[string]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sections != nil && time.Since(d.at) < liveEvery/2 {
		return d.sections, nil
	}
	v := p.look()
	sections, err := v.sections()
	if err != nil {
		return nil, err
	}
	d.at, d.sections = time.Now(), sections
	return sections, nil
}

// changed returns an event with the sections that told does not have, nil for none, and
// notes them in told.
func (p *page) changed(told map[string]string) ([]byte, error) {
	all, err := p.drawn.now(p)
	if err != nil {
		return nil, err
	}
	sections := map[string]string{}
	for name, html := range all {
		if before, known := told[name]; !known || before != html {
			sections[name], told[name] = html, html
		}
	}
	if len(sections) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(sections)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "event: sections\ndata: %s\n\n", data), nil
}
