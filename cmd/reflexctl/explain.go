// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

func explainCommand() *cobra.Command { return explainCommandAt(time.Now) }

func explainCommandAt(clock func() time.Time) *cobra.Command {
	c := &cobra.Command{
		Use:   "explain [EPISODE | last]",
		Short: "Tell an episode in plain words, or what observing would have done",
		Long: `Tell an episode in plain words: what was unusual, which cgroup was taken for the
cause and why that was harm, what was done with its numbers, what happened since, and
how to undo it. EPISODE is the beginning of an id of reflexctl journal; without one the
last episode is told.

With --observed it is the report of observe mode instead: how often Reflex would have
acted, on whom, and for how long, within --since.

It is made of the journal, which is bounded and in the collector's memory: what was
before the collector's start is with your backend (receiver reflex).

Exit status: 0 success, also where nothing happened; 1 failure, or no such episode.`,
		Example: `  reflexctl explain
  reflexctl explain 3f2a91c0
  reflexctl explain --observed --since 24h
  reflexctl explain --observed --output json | jq '.would_have_acted'`,
		Args: cobra.MaximumNArgs(1),
	}
	var (
		observed bool
		since    = 24 * time.Hour
	)
	output, extension := outputFlag(c), endpointFlag(c)
	c.Flags().BoolVar(&observed, "observed", false, "report what observing would have done")
	c.Flags().DurationVar(&since, "since", since, "with --observed, how far to look back")
	c.RunE = func(c *cobra.Command, args []string) error {
		if since <= 0 {
			return fmt.Errorf(`invalid argument %q for "--since" flag: must be more than 0`, since)
		}
		if observed && len(args) > 0 {
			return errors.New("--observed is about all episodes: leave the episode out")
		}
		records, dropped, err := journalOf(c.Context(), extension)
		if err != nil {
			return err
		}
		if observed {
			r := wouldHaveDone(records, dropped, clock(), since)
			if *output == asJSON {
				return writeJSON(c, r)
			}
			return r.tell(c.OutOrStdout())
		}
		s, err := pick(stories(records), args)
		if err != nil {
			return err
		}
		if *output == asJSON {
			return writeJSON(c, s) // null where nothing happened
		}
		if s == nil {
			fmt.Fprintln(c.OutOrStdout(), "Nothing has happened since the collector was started.")
			return nil
		}
		return s.tell(c.OutOrStdout(), clock())
	}
	return c
}

// journalOf reads the whole journal, and how many records have left it.
func journalOf(ctx context.Context, extension *client) ([]episode.Record, uint64, error) {
	var records []episode.Record
	f := &follower{extension: extension, print: func(r *episode.Record) error {
		records = append(records, *r)
		return nil
	}}
	if err := f.read(ctx); err != nil {
		return nil, 0, err
	}
	if len(records) == 0 {
		return nil, 0, nil
	}
	return records, records[0].ID - 1, nil
}

// pick finds the story that is meant; nil where there is none to tell.
func pick(all []*story, args []string) (*story, error) {
	if len(args) == 0 || args[0] == "last" {
		if len(all) == 0 {
			return nil, nil
		}
		return all[len(all)-1], nil
	}
	var found *story
	for _, s := range all {
		if !strings.HasPrefix(s.ID, strings.ToLower(args[0])) {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%q is the beginning of several episodes: give more of it", args[0])
		}
		found = s
	}
	if found == nil {
		return nil, fmt.Errorf("the journal has no episode that begins with %q: see reflexctl journal", args[0])
	}
	return found, nil
}

const clockTime = "15:04:05.000"

// tell writes the story for people.
func (s *story) tell(to io.Writer, now time.Time) error {
	var p prose
	p.say("Episode %s opened at %s", s.ID[:8], s.Opened.Local().Format("2006-01-02 15:04:05"))
	if s.Closed != nil {
		p.add(" and closed after %s.", lasting(s.Closed.Sub(s.Opened)))
	} else {
		p.add(", %s ago, and is open.", lasting(now.Sub(s.Opened)))
	}
	p.add(" Its highest level was %d, %s.", s.Highest, episode.LevelName(s.Highest))
	if s.Cut {
		p.add(" Its beginning has left the journal.")
	}
	p.say("What was unusual: %s.", s.Why)
	for _, u := range s.Unusual {
		p.add(" %s was at %s, usually %s.", u.Dimension, number(u.Value), number(u.Usual))
	}
	for i := range s.Deeds {
		s.Deeds[i].tell(&p, now)
	}
	if len(s.Deeds) == 0 {
		p.say("Nobody was touched.")
	}
	if n := len(s.Declined); n > 0 {
		p.say("Held back %d times:", n)
		for _, d := range s.Declined {
			p.item("%s", d)
		}
	}
	if len(s.Operators) > 0 {
		p.say("Operators:")
		for _, o := range s.Operators {
			p.item("%s", o)
		}
	}
	s.undo(&p)
	return p.write(to)
}

// tell writes one lease: who, why that was harm, what was done, what came of it.
func (d *deed) tell(p *prose, now time.Time) {
	p.say("Who and why: %s %s.", d.where(), strings.TrimPrefix(d.Why, "released: "))
	verb := "was set from"
	if d.Observed {
		verb = "would have been set from"
	}
	p.say("What was done: at %s %s %s %s to %s", d.Began.Local().Format(clockTime), d.Action, verb,
		valueOf(d.Action, uint64(d.Original)), valueOf(d.Action, uint64(d.Value)))
	if d.TickToKnob > 0 {
		p.add(", %s after the tick that saw it", lasting(time.Duration(d.TickToKnob*float64(time.Second))))
	}
	p.add(".")
	if d.Observed {
		p.add(" Nothing was written: it was only observed.")
	}
	held := lasting(d.until(now).Sub(d.Began))
	switch {
	case d.Ended == nil && d.Observed:
		p.add(" It would still be held, after %s.", held)
	case d.Ended == nil:
		p.add(" It is still held, after %s; the original comes back when it ends.", held)
	case d.Verdict == "lost":
		p.add(" After %s somebody else rewrote it, and it was left to them: %s.", held, d.End)
	case d.Verdict == "failed":
		p.add(" After %s nothing was heard of it: %s.", held, d.End)
	default:
		p.add(" It ended after %s: %s.", held, d.End)
	}
}

func (d *deed) where() string {
	if d.Path != "" {
		return d.Path
	}
	return fmt.Sprintf("cgroup %d", d.Cgroup)
}

// undo says how to take back what is still held, and how to keep it from
// happening again.
func (s *story) undo(p *prose) {
	var open []*deed
	for i := range s.Deeds {
		if d := &s.Deeds[i]; d.Ended == nil && !d.Observed && s.Closed == nil {
			open = append(open, d)
		}
	}
	if len(open) > 0 {
		p.say("To undo:")
		for _, d := range open {
			p.item("sudo reflexctl release %s --for 1h", d.where())
		}
		p.item("sudo reflexctl kill-switch on    (everything, until switched off)")
	} else {
		p.say("There is nothing to undo.")
	}
	if len(s.Deeds) > 0 {
		p.say("If it was wrong about this workload: list its cgroup in safelist of the reflex extension.")
	}
}

// prose is text in paragraphs, each with a list below it.
type prose []paragraph

type paragraph struct {
	text  string
	items []string
}

func (p *prose) say(format string, args ...any) {
	*p = append(*p, paragraph{text: printable(fmt.Sprintf(format, args...))})
}

// add goes on with the last paragraph.
func (p *prose) add(format string, args ...any) {
	(*p)[len(*p)-1].text += printable(fmt.Sprintf(format, args...))
}

func (p *prose) item(format string, args ...any) {
	last := &(*p)[len(*p)-1]
	last.items = append(last.items, printable(fmt.Sprintf(format, args...)))
}

func (p *prose) write(to io.Writer) error {
	w := newWriter(to)
	for i, paragraph := range *p {
		if i > 0 {
			w.line("")
		}
		w.line("%s", paragraph.text)
		for _, item := range paragraph.items {
			w.line("  %s", item)
		}
	}
	return w.flush()
}

// lasting writes a duration for people.
func lasting(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// finite is nil for what JSON cannot carry.
func finite(f float64) *float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return &f
}
