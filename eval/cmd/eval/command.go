// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/protocol"
	"github.com/otelcol-reflex/reflex/eval/internal/recording"
	"github.com/otelcol-reflex/reflex/eval/internal/report"
)

// options are the flags.
type options struct {
	data, output, file, scores string
	detectors, datasets        []string
	workers                    int
}

func command() *cobra.Command {
	var o options
	var about strings.Builder
	for _, e := range detector.All() {
		fmt.Fprintf(&about, "\n  %-14s %s", e.Name, e.About)
	}
	c := &cobra.Command{
		Use:   "eval --data <dir>",
		Short: "compare anomaly detectors on labelled recordings",
		Long: "eval replays every <dir>/<data set>/*.csv[.gz] with a column `label` through all detectors\n" +
			"under one protocol, prints a table and writes report.json.\n\nDetectors:" + about.String(),
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			return run(c, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.data, "data", "", "`directory` of data sets, each a directory of recordings (required)")
	f.StringVar(&o.output, "output", "dist/eval", "`directory` for report.json")
	f.StringSliceVar(&o.detectors, "detectors", nil, "only these detectors")
	f.StringSliceVar(&o.datasets, "datasets", nil, "only these data sets")
	f.StringVar(&o.file, "file", "", "only recordings whose name contains `text`")
	f.StringVar(&o.scores, "scores", "", "`directory` for one CSV of scores a recording")
	f.IntVar(&o.workers, "workers", runtime.GOMAXPROCS(0), "recordings replayed at once")
	if err := c.MarkFlagRequired("data"); err != nil {
		panic(err)
	}
	return c
}

func run(c *cobra.Command, o options) error {
	entries, err := choose(o.detectors)
	if err != nil {
		return err
	}
	files, err := find(o)
	if err != nil {
		return err
	}
	progress := newProgress(c.ErrOrStderr(), len(files))
	var failed error
	results, err := protocol.Run(c.Context(), protocol.Plan{
		Files: files, Detectors: entries, Workers: o.workers,
		Done: func(r *protocol.FileResult, finished int) {
			progress.show(finished, r.File)
			if o.scores != "" && r.Err == nil && failed == nil {
				failed = report.Scores(o.scores, r, entries)
			}
		},
	})
	progress.end()
	if err == nil {
		err = failed
	}
	if err != nil {
		return err
	}
	sum := report.New(results, entries)
	if len(sum.Files) == 0 {
		return fmt.Errorf("no labelled recording in %s: a CSV file with a numeric column `label` of 0 and 1 is needed", o.data)
	}
	path, err := sum.Write(o.output)
	if err != nil {
		return err
	}
	sum.Table(c.OutOrStdout())
	fmt.Fprintln(c.OutOrStdout(), "report:", path)
	return nil
}

// choose returns the detectors named, all if none is.
func choose(names []string) ([]detector.Entry, error) {
	all := detector.All()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []detector.Entry
	for _, e := range all {
		if slices.Contains(names, e.Name) {
			chosen = append(chosen, e)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(all, func(e detector.Entry) bool { return e.Name == name }) {
			return nil, fmt.Errorf("no detector is called %q; see --help", name)
		}
	}
	return chosen, nil
}

func find(o options) ([]recording.File, error) {
	files, err := recording.Find(o.data)
	if err != nil {
		return nil, err
	}
	files = slices.DeleteFunc(files, func(f recording.File) bool {
		return len(o.datasets) > 0 && !slices.Contains(o.datasets, f.Dataset) || !strings.Contains(f.Name, o.file)
	})
	if len(files) == 0 {
		return nil, fmt.Errorf("no .csv or .csv.gz file in %s that the filters let through", o.data)
	}
	return files, nil
}

// progress is a line on the terminal that counts recordings.
type progress struct {
	w     io.Writer // nil: no terminal
	total int
}

func newProgress(w io.Writer, total int) progress {
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return progress{w: w, total: total}
		}
	}
	return progress{}
}

func (p progress) show(finished int, f recording.File) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r\x1b[K%d of %d recordings: %s %s", finished, p.total, f.Dataset, f.Name)
	}
}

func (p progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
