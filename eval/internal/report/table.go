// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/protocol"
)

// Table writes the report for people: overall, data set by data set, and all
// detectors at the false episodes of ours.
func (r *Report) Table(w io.Writer) {
	fmt.Fprintf(w, "overall: mean over %d data sets\n", len(r.Datasets))
	table(w, r.Detectors)
	for _, d := range r.Datasets {
		fmt.Fprintf(w, "\n%s: %d recordings, %d rows, %d to warm up on; %d labelled intervals;\nAUC-PR of a random score %s, of a clock %s\n",
			d.Name, d.Files, d.Rows, d.Prefix, d.Intervals, number(d.Positive, 3), number(d.ClockAUCPR, 3))
		table(w, d.Detectors)
	}
	fmt.Fprint(w, `
detected: share of labelled intervals with an alarm inside, delay: median, both at
each detector's own limit and without point adjustment. episodes: false ones per
node and week of unlabelled time. alarmed: share of that time under alarm; where it
is large, few episodes mean one that never ends. clock: a score that looks at no
metric and only falls, or only rises, with time; where it does well, the place of
the anomalies gives them away, and AUC-PR and VUS-PR favour scores that drift.
`)
	r.equal(w)
	for _, s := range r.Skipped {
		fmt.Fprintln(w, "skipped:", s)
	}
}

func table(w io.Writer, rows []protocol.Measures) {
	t := newTable(w, "detector", "online", "AUC-PR", "VUS-PR", "detected", "delay s", "episodes", "alarmed", "µs/row")
	for _, m := range rows {
		online := ""
		if m.Online {
			online = "yes"
		}
		t.row(m.Name, online, number(m.AUCPR, 3), number(m.VUSPR, 3), percent(m.Detected), short(m.DelaySeconds),
			short(m.EpisodesPerNodeWeek), percent(m.AlarmedShare), strconv.FormatFloat(m.MicrosecondsPerRow, 'f', 0, 64))
	}
	t.end()
}

// equal writes what is detected at equal false episodes, two columns a data set.
func (r *Report) equal(w io.Writer) {
	if len(r.Detectors) == 0 || r.Detectors[0].Equal == nil {
		return
	}
	fmt.Fprintf(w, "\nat equal episodes: detected, and delay s, with no more false episodes than %s has\n", detector.Ours)
	head := []string{"detector", "overall", ""}
	for _, d := range r.Datasets {
		head = append(head, d.Name, "")
	}
	t := newTable(w, head...)
	for k, m := range r.Detectors {
		cells := []string{m.Name, percent(m.Equal.Detected), short(m.Equal.DelaySeconds)}
		for _, d := range r.Datasets {
			e := d.Detectors[k].Equal
			cells = append(cells, percent(e.Detected), short(e.DelaySeconds))
		}
		t.row(cells...)
	}
	t.end()
}

// aligned is a table in the making.
type aligned struct {
	w *tabwriter.Writer
	o io.Writer
}

func newTable(w io.Writer, head ...string) aligned {
	t := aligned{w: tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight), o: w}
	t.row(head...)
	return t
}

func (t aligned) row(cells ...string) {
	fmt.Fprintln(t.w, strings.Join(cells, "\t")+"\t")
}

func (t aligned) end() {
	if err := t.w.Flush(); err != nil {
		fmt.Fprintln(t.o, "table:", err)
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
