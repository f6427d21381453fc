// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/replay"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// span is the value of --warmup.
type span struct{ *replay.Span }

func (s span) String() string {
	switch {
	case s.Span == nil:
		return ""
	case s.Samples > 0:
		return strconv.Itoa(s.Samples)
	case s.Duration > 0:
		return s.Duration.String()
	}
	return ""
}
func (s span) Type() string { return "duration|samples" }

func (s span) Set(text string) (err error) {
	*s.Span, err = replay.ParseSpan(text)
	return err
}

func replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run the engine over a recording",
		Long: `Run the engine over a recording and write what it would have judged: the very
code that the mahalanobis processor runs, without a collector.

FILE is what reflexctl record writes, a CSV with a header, or what the Collector's
file exporter writes in format json (OTLP, one batch a line), any of them also
compressed with gzip; which of them is told by its content. "-" is standard input.

Every sample of the recording becomes one row of CSV, in order, also before the
engine is ready and where it has nothing new to say, so that input and output
can be laid side by side:

  time           as the recording writes it; seconds from the first row, if not
  d2             squared Mahalanobis distance
  score, limit   an anomaly is a score above the limit, once the engine is ready;
                 the score is the distance where that decides, else the distance
                 that would be as rare as what does
  anomalous      0 or 1
  velocity, acceleration   of the distance, per second and per second squared
  regime         -3 to +5
  contributions  what explains the distance, largest first: name=share;name=share
                 (";", "=", ",", "%" and quotes in a name are written as %XX)
  label          the label of the row, if the recording has one

A recording of OTLP has a baseline for each resource, as in the processor, and
the resource's attributes as a column before the others.

Dimensions are all columns that hold numbers, except the time, the label, and
any that is named "split" or begins with "label". --dimensions chooses others:
names or globs (* and ?), "!" before one leaves it out, the last that matches a
column decides, and a suffix says what to take from it: ":gauge" its level (the
default), ":counter" its rate, ":growth" how fast it grows. For OTLP the names
are those of metrics, whose data points are added up; sums that only grow are
counters, unless said otherwise; or the list is one of the presets node, cgroup
and host_metrics.

A recording of reflexctl record is judged as the arc does: the node by the preset
node, or by the columns of the node that are named. With --dimensions cgroup each
cgroup is judged by itself, at every tick; the processor does that only with its
full sweeps, every minute. It knows its times and has no label.

Decisions are made as in the arc: once in 100 ms, or once in the input's own
interval if that is longer, over exactly that time, however fast the samples
come. The summary says which period it was; --period sets another.

Empty cells, NaN, null and NA are missing. The first 100 rows decide which
columns hold numbers, how the time is written, and how far samples are apart.
Times are seconds, or by their size milli-, micro- or nanoseconds since the
epoch, or RFC 3339.

Rows go to standard output or to --output; a file appears under its name only
when it is complete. A summary goes to standard error.`,
		Example: `  reflexctl replay host.rfx > judged.csv
  reflexctl replay host.csv.gz > judged.csv
  reflexctl replay host.csv --warmup 600 --dimensions '!mem.*,net.*:counter'
  reflexctl replay metrics.json --dimensions host_metrics --plot replay.html --output judged.csv.gz
  reflexctl replay minutes.csv --time none --interval 1m --half-life 24h
  zcat host.csv.gz | reflexctl replay - --quiet | awk -F, '$5 == 1'`,
		Args: cobra.ExactArgs(1),
	}
	var (
		o            replay.Options
		output, plot string
		quiet        bool
	)
	f := c.Flags()
	f.StringVar(&o.Time, "time", "", `column of the time; "none": there is none (default the first of t, time, timestamp, ts)`)
	f.StringVar(&o.Label, "label", "", `column to pass through as label; "none": there is none (default label)`)
	f.StringVar(&o.Dimensions, "dimensions", "", "columns, metrics or a preset to judge by (default all that hold numbers)")
	f.DurationVar(&o.Interval, "interval", 0, "time between samples (default the median of the first, or 1s without times)")
	f.DurationVar(&o.Period, "period", 0, "time between decisions, at least that between samples (default the arc's: 100ms, or the input's own interval if that is longer)")
	f.Var(span{&o.Warmup}, "warmup", "how long the engine learns before it judges (default the engine's)")
	f.DurationVar(&o.HalfLife, "half-life", 0, "age at which what was learned counts half in the fast baseline (default the engine's)")
	f.DurationVar(&o.SlowHalfLife, "slow-half-life", 0, "the same in the slow baseline, which must agree to every alarm (default the engine's)")
	f.DurationVar(&o.FalseAlarmInterval, "false-alarm-interval", 0, "mean time between false episodes to aim at (default the engine's)")
	f.StringVar(&o.Trend, "trend", "", "filter of velocity and acceleration: kalman or ewma (default kalman)")
	f.StringVarP(&output, "output", "o", "-", "file to write rows to, compressed if its name ends in .gz")
	f.StringVar(&plot, "plot", "", "file to write a page to (HTML) that shows scores, trend, contributions and episodes")
	f.BoolVarP(&quiet, "quiet", "q", false, "no progress and no summary on standard error")
	c.RunE = func(c *cobra.Command, args []string) error {
		r, err := replay.New(o)
		if err != nil {
			return err
		}
		in, err := replay.Open(c.Context(), args[0], c.InOrStdin())
		if err != nil {
			return err
		}
		defer in.Close()
		r.Plot = plot != ""
		var bar *progress
		if !quiet && (output != "-" || !isTerminal(c.OutOrStdout())) {
			if bar = newProgress(c.ErrOrStderr(), in); bar != nil {
				r.Progress = bar.draw
			}
		}
		summary, err := writeReplay(r, in, c.OutOrStdout(), output, plot)
		if bar != nil {
			bar.clear()
		}
		if err != nil || quiet {
			return err
		}
		return tableOfReplay(c.ErrOrStderr(), summary)
	}
	return c
}

// writeReplay runs r and makes its files appear together, at the end.
func writeReplay(r *replay.Replay, in *replay.Input, stdout io.Writer, output, plot string) (*replay.Summary, error) {
	rows, err := replay.Create(output, stdout)
	if err != nil {
		return nil, err
	}
	defer rows.Abort()
	var page *replay.Output
	if plot != "" {
		if page, err = replay.Create(plot, stdout); err != nil {
			return nil, err
		}
		defer page.Abort()
	}
	summary, err := r.Run(in, rows)
	if err != nil {
		return nil, err
	}
	if page != nil {
		if err := r.WritePlot(page); err != nil {
			return nil, fmt.Errorf("write %s: %w", plot, err)
		}
		if err := page.Commit(); err != nil {
			return nil, err
		}
	}
	return summary, rows.Commit()
}

func tableOfReplay(to io.Writer, s *replay.Summary) error {
	w := newWriter(to)
	speed := ""
	if seconds := s.Took.Seconds(); seconds > 0 {
		speed = fmt.Sprintf(", %.3g a second", float64(s.Rows)/seconds)
	}
	w.line("rows\t%d in %s%s", s.Rows, words.Seconds(s.Took.Seconds()), speed)
	if s.Interval > 0 {
		w.line("interval\t%v", s.Interval)
	}
	if s.Missing > 0 {
		text := ""
		if s.Odd > 0 {
			text = fmt.Sprintf(", %d of them no numbers", s.Odd)
		}
		w.line("missing\t%d values%s", s.Missing, text)
	}
	for _, n := range []struct {
		n    int
		text string
	}{
		{s.OddTimes, "rows without a time, put one interval after the row before"},
		{s.Backwards, "rows earlier than the one before: the engine begins its differences again"},
		{s.Late, "measurements dropped, older than one before"},
		{s.MissedTicks, "ticks missed: the one before took too long"},
		{s.LostTicks, "ticks not recorded: writing took too long"},
	} {
		if n.n > 0 {
			w.line("time\t%d %s", n.n, n.text)
		}
	}
	for _, k := range s.Skipped {
		w.line("skipped\t%s: %s", k.Name, k.Why)
	}
	const most = 20
	for i := range s.Streams {
		if i == most && len(s.Streams) > most+1 {
			w.line("")
			w.line("and %d more streams; %d episodes in all", len(s.Streams)-most, s.NumEpisodes())
			break
		}
		tableOfStream(w, &s.Streams[i])
	}
	return w.flush()
}

func tableOfStream(w *writer, s *replay.StreamSummary) {
	if s.Resource != "" {
		w.line("")
		w.line("resource\t%s", s.Resource)
	}
	w.line("stream\t%d rows over %s, %d dimensions", s.Rows, words.Seconds(s.Span.Seconds()), len(s.Dimensions))
	w.line("period\t%v", s.Period)
	if s.Ready == 0 {
		w.line("ready\tnever: it takes the warm-up, and about 50 decisions")
		return
	}
	w.line("ready\tat row %d, after %s", s.Ready, words.Seconds(s.ReadyAt.Seconds()))
	if s.NumEpisodes == 0 {
		w.line("episodes\tnone")
	} else {
		e := &s.Episodes[0]
		w.line("episodes\t%d (%d anomalous rows); the first at %s, %s after the beginning, for %s, by the chart %s",
			s.NumEpisodes, s.Anomalous, e.Time, words.Seconds(e.Start.Seconds()), words.Seconds(e.Duration.Seconds()), s.Chart)
	}
	r := &s.Report
	w.line("learned\t%d decisions, worth %.0f independent ones (autocorrelation %.2f, shrinkage %.2g)", r.Decisions, r.Effective, r.Autocorrelation, r.Shrinkage)
	limit := "within what it is calibrated on"
	if r.Extrapolated {
		limit = "extrapolated: it aims beyond what it is calibrated on"
	}
	if r.History > 0 {
		w.line("limit\t%s, %s of healthy time", limit, words.Seconds(r.History.Seconds()))
	} else if r.Extrapolated {
		w.line("limit\t%s", limit)
	}
	if r.Kurtosis > 0 {
		w.line("kurtosis\t%.3g times a Gaussian's", r.Kurtosis)
	}
	if r.Season > 0 {
		w.line("season\t%s", words.Seconds(r.Season.Seconds()))
	}
	if r.Plateaus > 0 {
		w.line("plateaus\t%d accepted as normal", r.Plateaus)
	}
	if s.Audited {
		w.line("audit\trobust covariance differs by a factor of %.3g in the typical direction", math.Exp(s.Disagreement))
	}
}
