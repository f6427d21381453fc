// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
	"github.com/otelcol-reflex/reflex/internal/words"
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
		records, err := journalOf(c.Context(), extension)
		if err != nil {
			return err
		}
		if observed {
			r := story.WouldHaveDone(records, clock(), since)
			if *output == asJSON {
				return writeJSON(c, r)
			}
			return tellObserved(c.OutOrStdout(), &r)
		}
		s, err := pick(story.All(records), args)
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
		return writeProse(c.OutOrStdout(), s.Tell(clock()))
	}
	return c
}

// journalOf reads the whole journal.
func journalOf(ctx context.Context, extension *client) ([]episode.Record, error) {
	var records []episode.Record
	f := &follower{extension: extension, print: func(r *episode.Record) error {
		records = append(records, *r)
		return nil
	}}
	if err := f.read(ctx); err != nil {
		return nil, err
	}
	return records, nil
}

// pick finds the story that is meant; nil where there is none to tell.
func pick(all []*story.Story, args []string) (*story.Story, error) {
	if len(args) == 0 || args[0] == "last" {
		if len(all) == 0 {
			return nil, nil
		}
		return all[len(all)-1], nil
	}
	var found *story.Story
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

// writeProse writes paragraphs, each with its list below it.
func writeProse(to io.Writer, p story.Prose) error {
	w := newWriter(to)
	for i, paragraph := range p {
		if i > 0 {
			w.line("")
		}
		w.line("%s", paragraph.Text)
		for _, item := range paragraph.Items {
			w.line("  %s", item)
		}
	}
	return w.flush()
}

// tellObserved writes the report of observe mode.
func tellObserved(to io.Writer, r *story.Observed) error {
	if err := writeProse(to, r.Tell()); err != nil {
		return err
	}
	w := newWriter(to)
	if r.Times() > 0 {
		w.line("")
		w.line("CGROUP\tACTION\tTIMES\tIN ALL\tLONGEST\tLAST\tWHY (THE LAST TIME)")
		for i := range r.Would {
			x := &r.Would[i]
			w.line("%s\t%s\t%d\t%s\t%s\t%s\t%s", x.Path, x.Action, x.Times, words.Seconds(x.Total), words.Seconds(x.Longest), x.Last.Local().Format("2006-01-02 15:04:05"), x.Why)
		}
	}
	if len(r.Declined) > 0 {
		w.line("")
		w.line("HELD BACK\tTIMES")
		for _, d := range r.Declined {
			w.line("%s\t%d", d.Cause, d.Times)
		}
	}
	return w.flush()
}
