// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"encoding/json"
	"io"
	"sync"
)

// The kinds of [Event].
const (
	// EventPhase: the arm entered Phase, which lasts Length seconds.
	EventPhase = "phase"
	// EventTick: the state of the arm now.
	EventTick = "tick"
	// EventNote: something happened that a watcher wants to know; Text says what.
	EventNote = "note"
	// EventError: the scenario ends here; Text says why.
	EventError = "error"
)

// The phases of an arm.
const (
	PhasePrepare = "prepare"
	PhaseCalm    = "calm"
	PhaseLeak    = "leak"
	PhaseFinish  = "finish"
)

// Event is one line of the live stream.
type Event struct {
	Kind  string `json:"kind"`
	Arm   string `json:"arm,omitempty"`
	Phase string `json:"phase,omitempty"`
	// Length is the length of the phase in seconds, 0 unknown.
	Length float64 `json:"length,omitempty"`
	// Elapsed is in seconds from the start of the phase.
	Elapsed float64 `json:"elapsed,omitempty"`
	Text    string  `json:"text,omitempty"`

	PaymentAlive     bool    `json:"payment_alive,omitempty"`
	PaymentBytes     uint64  `json:"payment_bytes,omitempty"`
	PaymentLimit     uint64  `json:"payment_limit,omitempty"`
	PaymentCeiling   uint64  `json:"payment_ceiling,omitempty"`
	PaymentAnswers   int     `json:"payment_answers,omitempty"`
	NeighbourAnswers int     `json:"neighbour_answers,omitempty"`
	NeighbourP99     float64 `json:"neighbour_p99_ms,omitempty"`

	// Judged says that Level, Distance and Threshold are the collector's.
	Judged    bool    `json:"judged,omitempty"`
	Level     int     `json:"level,omitempty"`
	Distance  float64 `json:"distance,omitempty"`
	Threshold float64 `json:"threshold,omitempty"`
}

// Stream writes events as JSON lines. It is safe for concurrent use.
type Stream struct {
	mu  sync.Mutex
	enc *json.Encoder
}

// NewStream returns a stream that writes to w.
func NewStream(w io.Writer) *Stream { return &Stream{enc: json.NewEncoder(w)} }

// Send writes e. A watcher that went away does not stop the scenario.
func (s *Stream) Send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.enc.Encode(e)
}

// ParseEvent reads one line of the stream; ok is false for any other line,
// such as one the kernel wrote to the same console.
func ParseEvent(line []byte) (e Event, ok bool) {
	if len(line) == 0 || line[0] != '{' {
		return Event{}, false
	}
	if err := json.Unmarshal(line, &e); err != nil || e.Kind == "" {
		return Event{}, false
	}
	return e, true
}
