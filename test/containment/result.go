// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"encoding/json"
	"io"
	"sync"
)

// Trial is what came of one scenario, played once. Instants are CLOCK_BOOTTIME in
// ns.
type Trial struct {
	Scenario string `json:"scenario"`
	// Guard is "separate" or "embedded".
	Guard string `json:"guard"`
	// Calm is when watching began, Onset when the fault did, End when it was ended.
	Calm  int64 `json:"calm"`
	Onset int64 `json:"onset"`
	End   int64 `json:"end"`
	// Contained is when the last of the guilty was, 0 if one never was.
	Contained int64 `json:"contained"`
	// By says what contained whom.
	By []string `json:"by,omitempty"`
	// Touched lists what was done to anybody innocent.
	Touched []string `json:"touched,omitempty"`
	// Declined are the causes, from the journal, for which nothing or less was done.
	Declined []string `json:"declined,omitempty"`
	// Waited says who waited for what after the onset, and how much: what the fault
	// did to whom, in the kernel's words (PSI some).
	Waited []string `json:"waited,omitempty"`
	// Network says what the node's network did from the onset on, and once contained.
	Network []string `json:"network,omitempty"`
	// Killed are units that the kernel killed for memory.
	Killed []string `json:"killed,omitempty"`
	// Trouble lists what makes the trial worth less.
	Trouble []string `json:"trouble,omitempty"`
	// Failed says why the scenario could not be played; the rest is void then.
	Failed string `json:"failed,omitempty"`
	// Neighbour is how the answering service fared, filled in from its answers.
	Neighbour *Neighbour `json:"neighbour,omitempty"`
}

// Neighbour is how the innocent answering service fared before the onset and
// after it.
type Neighbour struct {
	// CalmP99 and FaultP99 are latencies in ms, CalmAnswered and FaultAnswered the
	// shares of requests answered within a second.
	CalmP99       float64 `json:"calm_p99_ms"`
	FaultP99      float64 `json:"fault_p99_ms"`
	CalmAnswered  float64 `json:"calm_answered"`
	FaultAnswered float64 `json:"fault_answered"`
	// Loose and Held are of the time from the onset to containment, and after it;
	// nil where nothing was contained.
	Loose *Fare `json:"loose,omitempty"`
	Held  *Fare `json:"held,omitempty"`
}

// Fare is how a service fared for a while.
type Fare struct {
	P99      float64 `json:"p99_ms"`
	Answered float64 `json:"answered"`
}

// relieved says that the neighbour was better off for containment: it was answered
// as before the fault, all but a twentieth, and no more slowly than twice that, or
// than while nothing was contained.
func (t *Trial) relieved() bool {
	n := t.Neighbour
	return n != nil && n.Held != nil && n.Held.Answered >= 0.95*n.CalmAnswered && n.Held.P99 <= max(2*n.CalmP99, n.Loose.P99)
}

// Ticks is how fast the arc was under one condition.
type Ticks struct {
	Condition string `json:"condition"`
	Guard     string `json:"guard"`
	// Samples are times from the scheduled tick to the return of the last write, in
	// ms.
	Samples []float64 `json:"samples"`
	// Sent are those to when the order was sent to the guard.
	Sent []float64 `json:"sent"`
	// TimerP99 is how late a thread that waits for a 10 ms timer was at that time, the
	// 99th percentile in ms; TimerP50 its median.
	TimerP50 float64  `json:"timer_p50_ms"`
	TimerP99 float64  `json:"timer_p99_ms"`
	Trouble  []string `json:"trouble,omitempty"`
}

// The kinds of [Event].
const (
	// EventStart: a boot begins to play; what it told before is void.
	EventStart = "start"
	EventNote  = "note"
	EventTrial = "trial"
	EventTicks = "ticks"
	EventError = "error"
)

// Event is one line of what a machine tells.
type Event struct {
	Kind  string `json:"containment"`
	Text  string `json:"text,omitempty"`
	Trial *Trial `json:"trial,omitempty"`
	Ticks *Ticks `json:"ticks,omitempty"`
}

// Stream writes events as JSON lines. It is safe for concurrent use.
type Stream struct {
	mu  sync.Mutex
	enc *json.Encoder
}

// NewStream returns a stream that writes to w.
func NewStream(w io.Writer) *Stream { return &Stream{enc: json.NewEncoder(w)} }

// Send writes e; nobody is there to hear of a failure.
func (s *Stream) Send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.enc.Encode(e)
}

// ParseEvent reads one line; ok is false for any other line.
func ParseEvent(line []byte) (e Event, ok bool) {
	if len(line) == 0 || line[0] != '{' {
		return e, false
	}
	err := json.Unmarshal(line, &e)
	return e, err == nil && e.Kind != ""
}
