// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

// own is the cgroup that stands for the collector's: the recorder's.
const own = "/reflex.slice/recorder.service"

// watch is the arc: engine, policy and guard. They are the collector's own, as it
// configures them by default, but that orders are carried out. Nobody samples
// faster: what was recorded is all there is.
type watch struct {
	engine    *detect.Engine
	policy    *policy.Policy
	guard     *guard
	inspector inspector
	control   arc.Control
	judgement arc.Judgement
	granted   []arc.Order // at the last tick, leases that were not held before
}

func newWatch(s *Stream) (*watch, error) {
	safelist, err := policy.NewSafelist(nil, own)
	if err != nil {
		return nil, err
	}
	rules := policy.DefaultConfig()
	rules.Own = s.tape.id(own)
	return &watch{
		engine: detect.NewEngine(detect.Config{}), policy: policy.New(rules, safelist),
		guard: newGuard(), inspector: inspector{stream: s},
	}, nil
}

// tick takes one sample through the arc, in the order in which the reflex
// extension does.
func (w *watch) tick(s *arc.Sample) *policy.Decision {
	w.engine.Judge(s, w.control, &w.judgement)
	for _, a := range w.guard.waiting {
		w.policy.Answer(a.order, a.outcome)
	}
	w.guard.waiting = w.guard.waiting[:0]
	w.guard.expire(s.Taken)
	w.inspector.sample = s
	d := w.policy.Step(s, &w.judgement, &w.inspector)
	w.control = d.Control
	w.granted = w.granted[:0]
	for _, o := range d.Orders {
		if o.Verb == arc.Hold && !w.guard.holds(o.Cgroup, o.Action) {
			w.granted = append(w.granted, o)
		}
		w.guard.act(o, s)
	}
	return d
}

// maxLevels bounds the levels that are counted.
const maxLevels = 6

// Tally is what one stream, or many, came to.
type Tally struct {
	Time time.Duration
	// Ready is the part of Time in which the engine judged, Blind that in which the
	// policy held still because ticks were missing.
	Ready, Blind time.Duration
	// Reached counts by level how often it was reached from below, AtSeams those
	// times within a few seconds after a seam.
	Reached, AtSeams [maxLevels]int
	// Spent is the time spent at each level or above.
	Spent     [maxLevels]time.Duration
	Seams     int
	Jumps     []float64 // of used memory at seams, bytes
	Incidents []Incident
	Declined  map[string]int // by cause
}

// Incident is the containment of a healthy cgroup: a lease that was ordered.
type Incident struct {
	Tape string `json:"recording"`
	// Stream is how the tape was played: 0 as it is, else the seed of the blocks.
	Stream uint64 `json:"stream"`
	// At is since the beginning of the stream, Recorded since that of the tape.
	At       time.Duration `json:"at_ns"`
	Recorded time.Duration `json:"recorded_ns"`
	Level    int           `json:"level"`
	Seam     bool          `json:"at_seam"`
	Path     string        `json:"cgroup"`
	Action   string        `json:"action"`
	Reason   string        `json:"reason"`
}

// afterSeam is how long a seam may take to show: twice the window in which the
// policy sees growth that comes in bursts, and a second.
const afterSeam = 9 * time.Second

// soak plays a stream for so long, or to its end.
func soak(s *Stream, seed uint64, span time.Duration) (*Tally, error) {
	w, err := newWatch(s)
	if err != nil {
		return nil, err
	}
	t := &Tally{Declined: map[string]int{}}
	var began, previous, seamed int64
	for {
		sample, seam := s.Next()
		if sample == nil {
			break
		}
		if began == 0 {
			began, previous = sample.Scheduled, sample.Scheduled
		}
		if seam {
			t.Seams++
			seamed = sample.Scheduled
		}
		elapsed := time.Duration(sample.Scheduled - previous)
		previous = sample.Scheduled
		t.Time += elapsed
		d := w.tick(sample)
		if w.judgement.Ready {
			t.Ready += elapsed
		}
		if d.Stale {
			t.Blind += elapsed
		}
		for level := range min(d.Level+1, maxLevels) {
			t.Spent[level] += elapsed
		}
		near := seamed != 0 && sample.Scheduled-seamed <= int64(afterSeam)
		t.note(d, near)
		for _, o := range w.granted {
			t.Incidents = append(t.Incidents, Incident{
				Tape: s.tape.Name, Stream: seed, At: time.Duration(sample.Scheduled - began),
				Recorded: time.Duration(s.Recorded().Scheduled - s.tape.Ticks[0].Scheduled),
				Level:    d.Level, Seam: near, Path: s.Path(o.Cgroup), Action: o.Action.String(), Reason: o.Reason,
			})
		}
		if t.Time >= span && span > 0 {
			break
		}
	}
	t.Jumps = s.jumps
	return t, nil
}

// note counts a decision.
func (t *Tally) note(d *policy.Decision, near bool) {
	for i := range d.Events {
		if e := &d.Events[i]; e.Kind == policy.Declined {
			t.Declined[e.Cause.String()]++
		}
	}
	if d.Level <= d.Previous || d.Level >= maxLevels {
		return
	}
	t.Reached[d.Level]++
	if near {
		t.AtSeams[d.Level]++
	}
}

// add adds u to t.
func (t *Tally) add(u *Tally) {
	t.Time += u.Time
	t.Ready += u.Ready
	t.Blind += u.Blind
	t.Seams += u.Seams
	for l := range t.Reached {
		t.Reached[l] += u.Reached[l]
		t.AtSeams[l] += u.AtSeams[l]
		t.Spent[l] += u.Spent[l]
	}
	t.Jumps = append(t.Jumps, u.Jumps...)
	t.Incidents = append(t.Incidents, u.Incidents...)
	if t.Declined == nil {
		t.Declined = map[string]int{}
	}
	for cause, n := range u.Declined {
		t.Declined[cause] += n
	}
}
