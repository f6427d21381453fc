// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"

	"github.com/otelcol-reflex/reflex/eval/internal/protocol"
)

// Table writes the report for people: overall, then data set by data set.
func (r *Report) Table(w io.Writer) {
	fmt.Fprintf(w, "overall: mean over %d data sets\n", len(r.Datasets))
	table(w, r.Detectors)
	for _, d := range r.Datasets {
		fmt.Fprintf(w, "\n%s: %d recordings, %d rows, %d to warm up on; %d labelled intervals; AUC-PR of a random score %s\n",
			d.Name, d.Files, d.Rows, d.Prefix, d.Intervals, number(d.Positive, 3))
		table(w, d.Detectors)
	}
	fmt.Fprint(w, `
detected, delay (median), episodes: at each detector's own limit; no point adjustment.
episodes: false ones, per node and week of unlabelled time; alarmed: share of that time.
equal: at the threshold with no more false episodes than reflex has at its limit.
`)
	for _, s := range r.Skipped {
		fmt.Fprintln(w, "skipped:", s)
	}
}

func table(w io.Writer, rows []protocol.Measures) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "detector\tonline\tAUC-PR\tVUS-PR\tdetected\tdelay s\tepisodes\talarmed\tequal: detected\tdelay s\tepisodes\tµs/row\t")
	for _, m := range rows {
		equal := protocol.Alarms{}
		if m.Equal != nil {
			equal = *m.Equal
		}
		online := ""
		if m.Online {
			online = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f\t\n", m.Name, online,
			number(m.AUCPR, 3), number(m.VUSPR, 3), percent(m.Detected), short(m.DelaySeconds), short(m.EpisodesPerNodeWeek),
			percent(m.AlarmedShare), percent(equal.Detected), short(equal.DelaySeconds), short(equal.EpisodesPerNodeWeek), m.MicrosecondsPerRow)
	}
	if err := t.Flush(); err != nil {
		fmt.Fprintln(w, "table:", err)
	}
}

func number(v *float64, digits int) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v, 'f', digits, 64)
}

func percent(v *float64) string {
	if v == nil {
		return "–"
	}
	if *v > 0 && *v < 0.1 {
		return fmt.Sprintf("%.1f%%", *v*100)
	}
	return fmt.Sprintf("%.0f%%", *v*100)
}

// short writes three digits, or as many as a whole number has.
func short(v *float64) string {
	switch {
	case v == nil:
		return "–"
	case math.Abs(*v) >= 100 || *v == math.Trunc(*v):
		return number(v, 0)
	default:
		return number(v, 1)
	}
}
