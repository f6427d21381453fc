// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
	"github.com/otelcol-reflex/reflex/internal/words"
)

func episodesCommand() *cobra.Command { return episodesCommandAt(time.Now) }

func episodesCommandAt(clock func() time.Time) *cobra.Command {
	c := &cobra.Command{
		Use:   "episodes",
		Short: "List the episodes that the journal has",
		Long: `List the episodes that the journal has, newest first: when, how long, how high, and
who was acted upon. reflexctl explain tells one of them.

The journal is bounded; kept in a file (journal::file of the reflex extension) it
outlives the collector.`,
		Example: `  reflexctl episodes
  reflexctl episodes --output json | jq '.[] | select(.highest_level >= 2) | .episode'`,
		Args: cobra.NoArgs,
	}
	output, extension := outputFlag(c), endpointFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		records, err := journalOf(c.Context(), extension)
		if err != nil {
			return err
		}
		all := story.All(records)
		slices.Reverse(all)
		if *output == asJSON {
			if all == nil {
				all = []*story.Story{}
			}
			return writeJSON(c, all)
		}
		return listEpisodes(c.OutOrStdout(), all, clock())
	}
	return c
}

func listEpisodes(to io.Writer, all []*story.Story, now time.Time) error {
	w := newWriter(to)
	if len(all) == 0 {
		w.line("No episode is in the journal.")
		return w.flush()
	}
	w.line("EPISODE\tOPENED\tLASTED\tHIGHEST LEVEL\tWHO\tWHAT")
	for _, s := range all {
		lasted := "open for " + words.Lasting(now.Sub(s.Opened))
		if s.Closed != nil {
			lasted = words.Lasting(s.Closed.Sub(s.Opened))
		}
		if s.Cut {
			lasted = "at least " + lasted
		}
		who, what := deedsOf(s)
		w.line("%s\t%s\t%s\t%d %s\t%s\t%s", s.ID[:8], s.Opened.Local().Format("2006-01-02 15:04:05"), lasted, s.Highest, episode.LevelName(s.Highest), who, what)
	}
	return w.flush()
}

// deedsOf sums up who was acted upon, and how.
func deedsOf(s *story.Story) (who, what string) {
	var paths, actions []string
	observed := len(s.Deeds) > 0
	for i := range s.Deeds {
		d := &s.Deeds[i]
		if path := d.Where(); !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
		if !slices.Contains(actions, d.Action) {
			actions = append(actions, d.Action)
		}
		observed = observed && d.Observed
	}
	switch {
	case len(paths) == 0:
		return "nobody", "–"
	case observed:
		return strings.Join(paths, ", "), strings.Join(actions, ", ") + ", only observed"
	}
	return strings.Join(paths, ", "), strings.Join(actions, ", ")
}
