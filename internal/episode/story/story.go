// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// Story is one episode, put together from the journal.
type Story struct {
	ID     string    `json:"episode"`
	Opened time.Time `json:"opened"`
	// Cut says that its beginning has left the journal; Opened is then the time of
	// the first record that is left.
	Cut     bool       `json:"cut,omitempty"`
	Closed  *time.Time `json:"closed,omitempty"`
	Highest int        `json:"highest_level"`
	// Why the episode was opened, and what was unusual.
	Why     string    `json:"why"`
	Score   *float64  `json:"score,omitempty"`
	Limit   *float64  `json:"limit,omitempty"`
	Unusual []Unusual `json:"unusual"`
	Deeds   []Deed    `json:"deeds"`
	// Declined are the reasons for which nothing was done, as they came up, each once and
	// at most mostDeclined of them; DeclinedTimes is how often in all.
	Declined      []string `json:"declined"`
	DeclinedTimes int      `json:"declined_times"`
	// Operators is what humans did.
	Operators []string `json:"operators"`
}

// Unusual is one dimension's part of the score.
type Unusual struct {
	Dimension string   `json:"dimension"`
	Value     *float64 `json:"value,omitempty"`
	Usual     *float64 `json:"usual,omitempty"`
}

// Deed is one lease, from its grant to its end.
type Deed struct {
	Cgroup   uint64    `json:"cgroup"`
	Path     string    `json:"path"`
	Action   string    `json:"action"`
	Observed bool      `json:"observed"`
	Began    time.Time `json:"began"`
	// TickToKnob is in seconds, 0 where nothing was written.
	TickToKnob float64      `json:"tick_to_knob,omitempty"`
	Original   words.Amount `json:"original"`
	Value      words.Amount `json:"value"`
	Why        string       `json:"why"`
	// Ended is absent while it is held. Verdict is the last: granted or observed
	// while it is held, then how it ended.
	Ended   *time.Time `json:"ended,omitempty"`
	Verdict string     `json:"verdict"`
	End     string     `json:"end,omitempty"`

	generation uint64
}

// until is when a deed ended, or now.
func (d *Deed) until(now time.Time) time.Time {
	if d.Ended != nil {
		return *d.Ended
	}
	return now
}

// All puts records, oldest first, together. What was done outside of an
// episode is not told.
func All(records []episode.Record) []*Story {
	var all []*Story
	byID := map[episode.ID]*Story{}
	for i := range records {
		r := &records[i]
		if r.Episode == (episode.ID{}) {
			continue
		}
		s := byID[r.Episode]
		if s == nil {
			s = &Story{
				ID: episode.FormatID(r.Episode), Opened: r.Time, Cut: r.Kind != episode.Opened,
				Unusual: []Unusual{}, Deeds: []Deed{}, Declined: []string{}, Operators: []string{},
			}
			byID[r.Episode] = s
			all = append(all, s)
		}
		s.add(r)
	}
	return all
}

func (s *Story) add(r *episode.Record) {
	s.Highest = max(s.Highest, r.Level, r.Previous)
	if s.Why == "" {
		s.begin(r)
	}
	switch r.Kind {
	case episode.Closed:
		at := r.Time
		s.Closed = &at
	case episode.Operator:
		s.Operators = append(s.Operators, r.Reason)
	case episode.Action:
		if r.Order != nil && r.Outcome != nil {
			s.act(r)
		}
	default:
	}
}

// begin takes what was unusual from the first record.
func (s *Story) begin(r *episode.Record) {
	s.Why = cmp.Or(r.Reason, r.Kind.String())
	j := &r.Judgement
	if !j.Ready {
		return
	}
	s.Score, s.Limit = finite(j.Score), finite(j.Limit)
	for _, c := range j.Contributions[:min(max(j.NumContributions, 0), arc.MaxContributions)] {
		s.Unusual = append(s.Unusual, Unusual{c.Dimension, finite(c.Value), finite(c.Usual)})
	}
}

// act follows one lease: a hold that was answered begins it, whatever else is
// said about its generation ends it.
func (s *Story) act(r *episode.Record) {
	o, out := r.Order, r.Outcome
	d := s.deed(r)
	switch out.Verdict {
	case arc.VerdictGranted, arc.VerdictObserved, arc.VerdictHeld:
		switch {
		case o.Verb == arc.Release:
			d.end(r)
		case d == nil:
			s.Deeds = append(s.Deeds, Deed{
				Cgroup: o.Cgroup, Path: r.Cgroup.Path, Action: o.Action.String(), Observed: out.Verdict == arc.VerdictObserved,
				Began: r.Time, TickToKnob: r.TickToKnob().Seconds(), Original: words.Amount(out.Original), Value: words.Amount(out.Value),
				Why: o.Reason, Verdict: out.Verdict.String(), End: out.Cause, generation: o.Generation,
			})
		default: // the guard came, or went
			d.Observed, d.Verdict, d.End = out.Verdict == arc.VerdictObserved, out.Verdict.String(), out.Cause
			d.Original, d.Value = words.Amount(out.Original), words.Amount(out.Value)
		}
	case arc.VerdictRefused:
		if d == nil {
			s.decline(r)
			return
		}
		d.end(r)
	case arc.VerdictFailed:
		if d == nil {
			s.decline(r)
			return
		}
		d.Verdict, d.End = out.Verdict.String(), out.Cause
		if o.Verb == arc.Release || out.Deadline != 0 {
			d.end(r) // nothing was heard, and the guard ends it by itself
		}
	default: // released, lost
		d.end(r)
	}
}

// mostDeclined bounds the reasons told of one episode.
const mostDeclined = 20

func (s *Story) decline(r *episode.Record) {
	s.DeclinedTimes++
	if text := declined(r); len(s.Declined) < mostDeclined && !slices.Contains(s.Declined, text) {
		s.Declined = append(s.Declined, text)
	}
}

// deed finds the lease that a record is about, nil if it began before.
func (s *Story) deed(r *episode.Record) *Deed {
	for i := range s.Deeds {
		d := &s.Deeds[i]
		if d.Ended == nil && d.Cgroup == r.Order.Cgroup && d.Action == r.Order.Action.String() && d.generation == r.Order.Generation {
			return d
		}
	}
	return nil
}

func (d *Deed) end(r *episode.Record) {
	if d == nil {
		return
	}
	at := r.Time
	d.Ended, d.Verdict = &at, r.Outcome.Verdict.String()
	d.End = cmp.Or(strings.TrimPrefix(r.Order.Reason, "released: "), r.Outcome.Cause)
	if r.Outcome.Verdict != arc.VerdictReleased && r.Outcome.Cause != "" {
		d.End = r.Outcome.Cause
	}
}

// declined says why nothing was done.
func declined(r *episode.Record) string {
	text := r.Reason
	if c := r.Outcome.Cause; c != "" && !strings.Contains(text, c) {
		text += " (" + c + ")"
	}
	return text
}
