// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// pageSize is how many records are asked for at a time.
const pageSize = 500

// follower reads a journal from a cursor on.
type follower struct {
	extension *client
	after     uint64
	print     func(*episode.Record) error
}

func journalCommand() *cobra.Command {
	var (
		follow bool
		after  uint64
		every  = time.Second
	)
	c := &cobra.Command{
		Use:   "journal",
		Short: "Show what Reflex noticed, decided and did",
		Long: `Show the records of the reflex extension's journal, oldest first: episodes,
changes of level, and every order with its answer.

With --output json every record is one line. The journal is bounded and in the
collector's memory: the reflex receiver ships it for good.`,
		Example: `  reflexctl journal
  reflexctl journal --follow
  reflexctl journal --output json | jq 'select(.outcome.verdict == "refused")'`,
		Args: cobra.NoArgs,
	}
	output, extension := outputFlag(c), endpointFlag(c)
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on showing records as they come, until interrupted")
	c.Flags().Uint64Var(&after, "after", 0, "show only records with a greater id")
	c.Flags().DurationVar(&every, "every", every, "with --follow, how often to look")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if every < 50*time.Millisecond {
			return fmt.Errorf(`invalid argument %q for "--every" flag: must be at least 50ms`, every)
		}
		f := &follower{extension: extension, after: after, print: printer(c.OutOrStdout(), *output)}
		if err := f.read(c.Context()); err != nil || !follow {
			return err
		}
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		return f.follow(c.Context(), ticker.C, c.ErrOrStderr())
	}
	return c
}

// read prints every record after the cursor and moves it.
func (f *follower) read(ctx context.Context) error {
	for {
		var records []episode.Record
		query := url.Values{"after": {strconv.FormatUint(f.after, 10)}, "limit": {strconv.Itoa(pageSize)}}
		if err := f.extension.get(ctx, "journal", query, &records); err != nil {
			return err
		}
		for i := range records {
			if err := f.print(&records[i]); err != nil {
				return err
			}
			f.after = records[i].ID
		}
		if len(records) < pageSize {
			return nil
		}
	}
}

// follow reads at every tick until ctx ends. A collector that is away, or is
// back with a journal that begins anew, is told about and followed on.
func (f *follower) follow(ctx context.Context, ticks <-chan time.Time, notes io.Writer) error {
	away := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
		err := f.catchUp(ctx, notes)
		if err != nil && ctx.Err() == nil && !away {
			_, _ = fmt.Fprintf(notes, "%v; waiting for it\n", err)
		}
		away = err != nil
	}
}

func (f *follower) catchUp(ctx context.Context, notes io.Writer) error {
	before := f.after
	if err := f.read(ctx); err != nil || f.after != before {
		return err
	}
	var s status
	if err := f.extension.get(ctx, "status", nil, &s); err != nil {
		return err
	}
	if s.Journal.Newest >= f.after {
		return nil
	}
	_, _ = fmt.Fprintln(notes, "the collector was started anew, and its journal with it")
	f.after = 0
	return f.read(ctx)
}

// printer returns what prints one record.
func printer(to io.Writer, output format) func(*episode.Record) error {
	if output == asJSON {
		e := json.NewEncoder(to)
		return func(r *episode.Record) error { return e.Encode(r) }
	}
	return func(r *episode.Record) error {
		_, err := fmt.Fprintln(to, words.Printable(line(r)))
		return err
	}
}

// line tells a record to people in one line.
func line(r *episode.Record) string {
	text := fmt.Sprintf("%6d  %s  %s  %s", r.ID, r.Time.Local().Format("2006-01-02 15:04:05.000"), episode.FormatID(r.Episode)[:8], what(r))
	if r.Cgroup.Path != "" {
		text += "  " + r.Cgroup.Path
	}
	if o := r.Outcome; o != nil && o.Cause == "" && o.Value > 0 {
		value := words.Size
		if r.Order != nil && !inBytes(r.Order.Action) {
			value = plain
		}
		text += fmt.Sprintf("  %s (was %s)", value(o.Value), value(o.Original))
	}
	if r.Reason != "" {
		text += "  " + r.Reason
	}
	if r.Outcome != nil && r.Outcome.Cause != "" {
		text += "; " + r.Outcome.Cause
	}
	if d := r.TickToKnob(); d > 0 {
		text += fmt.Sprintf("  [tick to knob %s]", d.Round(10*time.Microsecond))
	}
	return text
}

// inBytes says that an action's parameter is bytes, or bytes a second.
func inBytes(a arc.Action) bool {
	switch a {
	case arc.ActionMemoryHigh, arc.ActionIOMaxRead, arc.ActionIOMaxWrite, arc.ActionNetworkThrottle:
		return true
	}
	return false
}

// plain writes a number that is not bytes.
func plain(n uint64) string {
	if n >= arc.Unlimited {
		return "max"
	}
	return strconv.FormatUint(n, 10)
}

func what(r *episode.Record) string {
	switch r.Kind {
	case episode.LevelChanged:
		return fmt.Sprintf("%s → %s", episode.LevelName(r.Previous), episode.LevelName(r.Level))
	case episode.Action:
		action, verdict := "order", "unanswered"
		if r.Order != nil {
			action = r.Order.Action.String()
		}
		if r.Outcome != nil {
			verdict = r.Outcome.Verdict.String()
		}
		return action + " " + verdict
	case episode.Operator:
		return "operator"
	default:
		return "episode " + r.Kind.String()
	}
}
