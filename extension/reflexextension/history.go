// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"sync"
	"time"
)

const (
	// historyEvery spaces the points of the score's history, historySize bounds them: ten
	// minutes.
	historyEvery = 500 * time.Millisecond
	historySize  = 1200
)

// Moment is the score at one moment. Score and Limit are null before the first
// judgement that is ready.
type Moment struct {
	Time  time.Time `json:"time"`
	Level int       `json:"level"`
	Score *float64  `json:"score"`
	Limit *float64  `json:"limit"`
}

// history is a bounded ring of moments. The watchdog fills it: the arc does not know of
// it.
type history struct {
	mu   sync.Mutex
	ring [historySize]Moment
	head int
	n    int
}

// look adds how things stand, if that is due.
func (h *history) look(r *reflex) {
	now := r.wall()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n > 0 {
		last := h.ring[(h.head+h.n-1)%historySize].Time
		if since := now.Sub(last); since >= 0 && since < historyEvery-watchEvery/2 {
			return
		}
	}
	s := r.snap.read()
	if s.Sequence == 0 {
		return
	}
	m := Moment{Time: now, Level: s.Level}
	if s.Judgement.Ready {
		m.Score, m.Limit = finite(s.Judgement.Score), finite(s.Judgement.Limit)
	}
	if h.n == historySize {
		h.head, h.n = (h.head+1)%historySize, h.n-1
	}
	h.ring[(h.head+h.n)%historySize] = m
	h.n++
}

// read returns the moments, oldest first.
func (h *history) read() []Moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Moment, 0, h.n)
	for i := range h.n {
		out = append(out, h.ring[(h.head+i)%historySize])
	}
	return out
}
