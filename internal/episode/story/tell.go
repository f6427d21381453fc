// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/words"
)

const clockTime = "15:04:05.000"

// Tell tells the story to people: in plain text, which nothing in it can steer.
func (s *Story) Tell(now time.Time) Prose {
	var p Prose
	p.Say("Episode %s opened at %s", s.ID[:8], s.Opened.Local().Format(clockOfDay))
	if s.Closed != nil {
		p.Add(" and closed after %s.", words.Lasting(s.Closed.Sub(s.Opened)))
	} else {
		p.Add(", %s ago, and is open.", words.Lasting(now.Sub(s.Opened)))
	}
	p.Add(" Its highest level was %d, %s.", s.Highest, episode.LevelName(s.Highest))
	if s.Cut {
		p.Add(" Its beginning has left the journal.")
	}
	p.Say("What was unusual: %s.", s.Why)
	for _, u := range s.Unusual {
		p.Add(" %s was at %s, usually %s.", u.Dimension, words.Quantity(u.Dimension, u.Value), words.Quantity(u.Dimension, u.Usual))
	}
	for i := range s.Deeds {
		s.Deeds[i].tell(&p, now)
	}
	if len(s.Deeds) == 0 {
		p.Say("Nobody was touched.")
	}
	if n := s.DeclinedTimes; n > 0 {
		p.Say("Held back %d times:", n)
		for _, d := range s.Declined {
			p.Item("%s", d)
		}
	}
	if len(s.Operators) > 0 {
		p.Say("Operators:")
		for _, o := range s.Operators {
			p.Item("%s", o)
		}
	}
	s.undo(&p)
	return p
}

// tell writes one lease: who, why that was harm, what was done, what came of it.
func (d *Deed) tell(p *Prose, now time.Time) {
	p.Say("Who and why: %s %s.", d.Where(), strings.TrimPrefix(d.Why, "released: "))
	verb := "was set from"
	if d.Observed {
		verb = "would have been set from"
	}
	p.Say("What was done: at %s %s %s %s to %s", d.Began.Local().Format(clockTime), d.Action, verb,
		words.Value(d.Action, uint64(d.Original)), words.Value(d.Action, uint64(d.Value)))
	if d.TickToKnob > 0 {
		p.Add(", %s after the tick that saw it", words.Lasting(time.Duration(d.TickToKnob*float64(time.Second))))
	}
	p.Add(".")
	if d.Observed {
		p.Add(" Nothing was written: it was only observed.")
	}
	held := words.Lasting(d.until(now).Sub(d.Began))
	switch {
	case d.Ended == nil && d.Observed:
		p.Add(" It would still be held, after %s.", held)
	case d.Ended == nil:
		p.Add(" It is still held, after %s; the original comes back when it ends.", held)
	case d.Verdict == "lost":
		p.Add(" After %s somebody else rewrote it, and it was left to them: %s.", held, d.End)
	case d.Verdict == "failed":
		p.Add(" After %s nothing was heard of it: %s.", held, d.End)
	default:
		p.Add(" It ended after %s: %s.", held, d.End)
	}
}

// Where names the cgroup, or what else was acted upon.
func (d *Deed) Where() string {
	switch {
	case d.Path != "":
		return d.Path
	case d.Cgroup != 0:
		return fmt.Sprintf("cgroup %d", d.Cgroup)
	case d.Action == arc.ActionShield.String():
		return "a network interface"
	}
	return "the node"
}

// undo says how to take back what is still held, and how to keep it from
// happening again.
func (s *Story) undo(p *Prose) {
	var open []*Deed
	for i := range s.Deeds {
		if d := &s.Deeds[i]; d.Ended == nil && !d.Observed && s.Closed == nil {
			open = append(open, d)
		}
	}
	if len(open) > 0 {
		p.Say("To undo:")
		for _, d := range open {
			if d.Cgroup == 0 {
				p.Item("sudo reflexctl release --all --for 1h")
			} else {
				p.Item("sudo reflexctl release %s --for 1h", words.Argument(d.Path, d.Cgroup))
			}
		}
		p.Item("sudo reflexctl kill-switch on    (everything, until switched off)")
	} else {
		p.Say("There is nothing to undo.")
	}
	if len(s.Deeds) > 0 {
		p.Say("If it was wrong about this workload: list its cgroup in safelist of the reflex extension.")
	}
}

// finite is nil for what JSON cannot carry.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}
