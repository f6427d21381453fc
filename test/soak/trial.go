// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/policy"
)

// Trial is what became of one fault.
type Trial struct {
	Fault  string `json:"fault"`
	Tape   string `json:"recording"`
	Victim string `json:"cgroup"`
	// Onset is since the beginning of the tape.
	Onset time.Duration `json:"onset_ns"`
	// Already says that level 1 was in force at the onset.
	Already bool `json:"already_watchful"`
	// Seen and Contained are how long after the onset level 1 was in force, and a
	// victim contained; negative: never.
	Seen      time.Duration `json:"seen_ns"`
	Contained time.Duration `json:"contained_ns"`
	Action    string        `json:"action,omitempty"`
	// Innocent is the first other cgroup that was contained after the onset.
	Innocent string `json:"innocent,omitempty"`
	// Spent says that a victim met its limit first.
	Spent bool `json:"limit_met"`
	// Declined is why nothing was done, last.
	Declined string `json:"declined,omitempty"`
}

const (
	// learnt is how long the engine learns before a fault begins, if the tape is long
	// enough: after [starting], when the machine is as it will be.
	learnt = 10 * time.Minute
	// grown is the age that a victim has at least: growth of what has just started
	// is excused.
	grown = 130 * time.Second
)

// try splices a fault into a tape at a place drawn at random. It returns nil where
// none was found at which it can happen.
func try(t *Tape, f Fault, random *rand.Rand) (*Trial, error) {
	interval := max(t.Ticks[0].Interval, 1)
	after := int(int64(f.Watch) / interval)
	first := min(int(int64(starting)/interval), len(t.Ticks)/4)
	learning := min(int(int64(learnt)/interval), max(len(t.Ticks)-after-first-1, 0)*2/3)
	before := first + learning
	if len(t.Ticks)-before-after < 2 || learning == 0 {
		return nil, nil //nolint:nilnil // there is no place, which is no error
	}
	for range tries {
		onset := before + random.IntN(len(t.Ticks)-before-after)
		victims := t.victims(onset, onset+after, f.Victims, random)
		if len(victims) == f.Victims {
			from := onset - learning
			if f.FromStart {
				from = 0
			}
			return run(t, f, onset, from, victims)
		}
	}
	return nil, nil //nolint:nilnil // as above
}

// victims draws services that are there, and no longer young, from tick at to tick
// until.
func (t *Tape) victims(at, until, n int, random *rand.Rand) (ids []uint64) {
	s, end := &t.Ticks[at], &t.Ticks[until]
	for row, id := range s.Cgroups.ID {
		age := t.age(id, s.Taken)
		if !strings.HasPrefix(t.paths[id], "/system.slice/") || !populated(&s.Cgroups, row) || age >= 0 && age < grown ||
			slices.Contains(s.Cgroups.Parent, id) || !slices.Contains(end.Cgroups.ID, id) {
			continue
		}
		ids = append(ids, id)
	}
	random.Shuffle(len(ids), func(i, k int) { ids[i], ids[k] = ids[k], ids[i] })
	return ids[:min(n, len(ids))]
}

// run plays a tape from tick from on and begins the fault at tick onset.
func run(t *Tape, f Fault, onset, from int, victims []uint64) (*Trial, error) {
	s := Replay(t)
	s.at = from
	w, err := newWatch(s)
	if err != nil {
		return nil, err
	}
	p := newSplice(f, t, onset, victims, w.guard)
	trial := &Trial{
		Fault: f.Name, Tape: t.Name, Victim: t.paths[victims[0]], Onset: time.Duration(p.onset - t.Ticks[0].Taken),
		Seen: -1, Contained: -1,
	}
	for {
		sample, _ := s.Next()
		if sample == nil || sample.Taken > p.onset+int64(f.Watch) {
			return trial, nil
		}
		p.apply(sample)
		d := w.tick(sample)
		if sample.Taken <= p.onset {
			trial.Already = d.Level > policy.LevelNormal
			continue
		}
		if trial.note(d, w, victims, time.Duration(sample.Taken-p.onset), s); trial.Contained >= 0 {
			return trial, nil
		}
		if p.spent {
			trial.Spent = true
			return trial, nil
		}
	}
}

// note takes in one decision, made so long after the onset.
func (r *Trial) note(d *policy.Decision, w *watch, victims []uint64, after time.Duration, s *Stream) {
	if r.Seen < 0 && d.Level > policy.LevelNormal {
		r.Seen = after
	}
	for i := range d.Events {
		if e := &d.Events[i]; e.Kind == policy.Declined {
			r.Declined = e.Cause.String()
		}
	}
	for _, o := range w.granted {
		switch {
		case slices.Contains(victims, o.Cgroup) && r.Contained < 0:
			r.Contained, r.Action = after, o.Action.String()
		case r.Innocent == "" && !slices.Contains(victims, o.Cgroup):
			r.Innocent = s.Path(o.Cgroup)
		}
	}
}
