// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/webhook"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// status is what reflexctl reads of the extension's /status. A test holds it
// against the extension's own type.
type status struct {
	Version string `json:"version"`
	Mode    struct {
		Requested string `json:"requested"`
		Effective string `json:"effective"`
	} `json:"mode"`
	Problem string `json:"problem"`
	Guard   struct {
		Link      string `json:"link"`
		Reachable bool   `json:"reachable"`
		Cause     string `json:"cause"`
	} `json:"guard"`
	Operator struct {
		Socket string `json:"socket"`
		Cause  string `json:"cause"`
	} `json:"operator"`
	Ladder    []rungStatus `json:"ladder"`
	Level     int          `json:"level"`
	LevelName string       `json:"level_name"`
	Episode   *struct {
		ID      string  `json:"id"`
		OpenFor float64 `json:"open_for"`
	} `json:"episode"`
	Leases []struct {
		Cgroup   uint64  `json:"cgroup"`
		Path     string  `json:"path"`
		Action   string  `json:"action"`
		Original *uint64 `json:"original"`
		Observed bool    `json:"observed"`
		Phase    string  `json:"phase"`
		Verdict  string  `json:"verdict"`
		Level    int     `json:"level"`
		Ceiling  uint64  `json:"ceiling"`
		Amount   string  `json:"amount"`
		HeldFor  float64 `json:"held_for"`
		ExpireIn float64 `json:"expires_in"`
		Reason   string  `json:"reason"`
	} `json:"leases"`
	Harm *struct {
		Kind       string   `json:"kind"`
		Unit       string   `json:"unit"`
		Text       string   `json:"text"`
		Available  uint64   `json:"available"`
		Limit      uint64   `json:"limit"`
		Growth     float64  `json:"growth"`
		Exhaustion *float64 `json:"exhaustion"`
		Stall      float64  `json:"stall"`
	} `json:"harm"`
	Input struct {
		Source    string  `json:"source"`
		Judge     string  `json:"judge"`
		Sequence  uint64  `json:"sequence"`
		Age       float64 `json:"age"`
		Interval  float64 `json:"interval"`
		Cgroups   int     `json:"cgroups"`
		Truncated uint32  `json:"truncated"`
		Missed    uint64  `json:"missed"`
		Stale     bool    `json:"stale"`
	} `json:"input"`
	Judgement *struct {
		Sequence      uint64   `json:"sequence"`
		Ready         bool     `json:"ready"`
		Anomalous     bool     `json:"anomalous"`
		Frozen        bool     `json:"frozen"`
		Score         *float64 `json:"score"`
		Limit         *float64 `json:"limit"`
		Distance      *float64 `json:"distance"`
		Velocity      *float64 `json:"velocity"`
		Acceleration  *float64 `json:"acceleration"`
		Confidence    *float64 `json:"confidence"`
		Contributions []struct {
			Dimension string   `json:"dimension"`
			Share     *float64 `json:"share"`
			Value     *float64 `json:"value"`
			Usual     *float64 `json:"usual"`
		} `json:"contributions"`
	} `json:"judgement"`
	Missing []struct {
		Name   string `json:"name"`
		Cause  string `json:"cause"`
		Remedy string `json:"remedy"`
	} `json:"missing"`
	Journal episode.Stats      `json:"journal"`
	File    *episode.FileStats `json:"journal_file"`
	Hooks   []webhook.Stats    `json:"webhooks"`
}

// rungStatus is one action that the policy may order.
type rungStatus struct {
	Level    int    `json:"level"`
	Resource string `json:"resource"`
	Action   string `json:"action"`
	Observed bool   `json:"observed"`
}

func statusCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Ask a running collector what Reflex is doing",
		Long: `Ask the reflex extension of a running collector what it is doing: the level in
force, the leases held, the harm in sight, the last judgement, and what is
missing for full function.

With --watch it is shown again and again, in place on a terminal, until interrupted,
below the scores of the last ten minutes: a bar of full height is ten times the limit.`,
		Example: `  reflexctl status
  reflexctl status --watch
  reflexctl status --output json | jq .level_name`,
		Args: cobra.NoArgs,
	}
	output, extension := outputFlag(c), endpointFlag(c)
	var (
		watch bool
		every = time.Second
	)
	c.Flags().BoolVarP(&watch, "watch", "w", false, "go on showing it, until interrupted")
	c.Flags().DurationVar(&every, "every", every, "with --watch, how often")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond {
			return fmt.Errorf(`invalid argument %q for "--every" flag: must be at least 100ms`, every)
		}
		if watch {
			if *output == asJSON {
				return errors.New("--watch is for people: for programs, ask every so often")
			}
			ticker := time.NewTicker(every)
			defer ticker.Stop()
			w := &watcher{extension: extension, to: c.OutOrStdout(), columns: columns(c.OutOrStdout()), now: time.Now}
			return w.watch(c.Context(), ticker.C)
		}
		if *output == asJSON { // as it came: a newer extension may say more
			var raw json.RawMessage
			if err := extension.get(c.Context(), "status", nil, &raw); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), string(raw))
			return err
		}
		var s status
		if err := extension.get(c.Context(), "status", nil, &s); err != nil {
			return err
		}
		return s.table(c.OutOrStdout())
	}
	return c
}

func (s *status) table(to io.Writer) error {
	w := newWriter(to)
	mode := s.Mode.Effective
	if s.Mode.Effective != s.Mode.Requested {
		mode = fmt.Sprintf("%s (%s is configured)", s.Mode.Effective, s.Mode.Requested)
	}
	w.line("level\t%d %s", s.Level, s.LevelName)
	w.line("mode\t%s", mode)
	if s.Problem != "" {
		w.line("problem\t%s", s.Problem)
	}
	if s.Guard.Reachable {
		w.line("guard\t%s", s.Guard.Link)
	} else {
		w.line("guard\t%s: not reachable: %s", s.Guard.Link, s.Guard.Cause)
	}
	if s.Operator.Cause != "" {
		w.line("operators\tnot listened to: %s", s.Operator.Cause)
	}
	if e := s.Episode; e != nil {
		w.line("episode\t%s, open for %s", e.ID, words.Seconds(e.OpenFor))
	} else {
		w.line("episode\tnone")
	}
	if h := s.Harm; h != nil {
		text := harmText(h.Kind, h.Available, h.Limit, h.Growth, h.Exhaustion)
		if h.Unit != "By" && h.Text != "" {
			text = h.Kind + ": " + h.Text
		}
		w.line("harm\t%s", text)
	}
	s.tableOfInput(w)
	s.tableOfJudgement(w)
	w.line("journal\trecords %d to %d, %d displaced", s.Journal.Oldest, s.Journal.Newest, s.Journal.Dropped)
	switch f := s.File; {
	case f == nil:
	case f.Trouble != "":
		w.line("journal file\t%s: not written: %s", f.Path, f.Trouble)
	default:
		w.line("journal file\t%s: %d records, %d bytes, %d to be written", f.Path, f.Records, f.Bytes, f.Behind)
	}
	for _, h := range s.Hooks {
		state := ""
		if h.Trouble != "" {
			state = ": " + h.Trouble
		}
		w.line("webhook\t%s (%s), %d delivered, %d not%s", h.Target, h.Format, h.Delivered, h.Failed, state)
	}
	if s.Version != "" {
		w.line("version\t%s", s.Version)
	}
	if err := w.flush(); err != nil {
		return err
	}
	if len(s.Leases) > 0 {
		w.line("")
		w.line("CGROUP\tPHASE\tVERDICT\tCEILING\tHELD\tENDS IN\tREASON")
		for _, l := range s.Leases {
			w.line("%s\t%s\t%s\t%s\t%s\t%s\t%s", l.Path, l.Phase, l.Verdict, ceiling(l.Action, l.Amount, l.Ceiling), words.Seconds(l.HeldFor), words.Seconds(l.ExpireIn), l.Reason)
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(s.Missing) > 0 {
		w.line("")
		w.line("missing")
		for _, q := range s.Missing {
			w.line("  ✗ %s\t%s", q.Name, q.Cause)
			w.line("  \t→ %s", q.Remedy)
		}
	}
	return w.flush()
}

func (s *status) tableOfInput(w *writer) {
	in := &s.Input
	if in.Sequence == 0 {
		w.line("input\tnothing has arrived")
		return
	}
	state := ""
	if in.Stale {
		state = ", STALE: escalation is frozen"
	}
	if in.Truncated > 0 {
		state += fmt.Sprintf(", %d cgroups left out", in.Truncated)
	}
	if in.Missed > 0 {
		state += fmt.Sprintf(", %d ticks missed", in.Missed)
	}
	w.line("input\t%s every %s, %d cgroups, last %s ago%s", in.Source, words.Seconds(in.Interval), in.Cgroups, words.Seconds(in.Age), state)
	if in.Judge == "" {
		w.line("judge\tnone: add the mahalanobis processor to the pipeline of %s", in.Source)
		return
	}
	w.line("judge\t%s", in.Judge)
}

func (s *status) tableOfJudgement(w *writer) {
	j := s.Judgement
	switch {
	case j == nil:
	case !j.Ready:
		w.line("score\tlearning (confidence %s)", words.Number(j.Confidence))
	default:
		state := "normal"
		if j.Anomalous {
			state = "anomalous"
		}
		w.line("score\t%s of %s: %s, velocity %s/s, acceleration %s/s²", words.Number(j.Score), words.Number(j.Limit), state, words.Number(j.Velocity), words.Number(j.Acceleration))
		for _, c := range j.Contributions {
			w.line("\t%s at %s (usually %s), share %s", c.Dimension, words.Quantity(c.Dimension, c.Value), words.Quantity(c.Dimension, c.Usual), words.Number(c.Share))
		}
	}
}

// ceiling says what a lease holds: bytes for memory, the action's own words for
// everything else.
func ceiling(action, amount string, bytes uint64) string {
	if action == "" || action == arc.ActionMemoryHigh.String() {
		return words.Size(bytes)
	}
	return strings.TrimSpace(action + " " + amount)
}

func harmText(kind string, available, limit uint64, growth float64, exhaustion *float64) string {
	if available >= arc.Unlimited && limit >= arc.Unlimited {
		return fmt.Sprintf("%s: %s/s more than usual", kind, words.Bytes(growth)) // I/O: nothing runs out
	}
	text := fmt.Sprintf("%s: %s left of %s", kind, words.Size(available), words.Size(limit))
	if growth != 0 {
		text += fmt.Sprintf(", going at %s/s", words.Bytes(growth))
	}
	if exhaustion != nil && *exhaustion > 0 {
		text += ", gone in " + words.Seconds(*exhaustion)
	}
	return text
}
