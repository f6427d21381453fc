// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// Where a document holds the tables.
const (
	beginMark = "<!-- sensing: begin, written by make bench-sensing -->"
	endMark   = "<!-- sensing: end -->"
)

// number writes v with three significant digits, thousands whole.
func number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a >= 1000:
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.0995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

// integer writes n whole.
func integer[T int | uint64](n T) string { return thousands(strconv.FormatInt(int64(n), 10)) }

// thousands puts a comma after every third digit.
func thousands(digits string) string {
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "-", rest
	}
	var out []string
	for len(digits) > 3 {
		out = append([]string{digits[len(digits)-3:]}, out...)
		digits = digits[:len(digits)-3]
	}
	return sign + strings.Join(append([]string{digits}, out...), ",")
}

// spread writes the quartiles.
func spread(s Summary) string { return number(s.Q1) + " to " + number(s.Q3) }

// reach writes the least and the greatest.
func reach(s Summary) string { return number(s.Min) + " to " + number(s.Max) }

type table struct{ strings.Builder }

func (t *table) head(columns ...string) {
	t.row(columns...)
	t.WriteString(strings.Repeat("| --- ", len(columns)) + "|\n")
}

func (t *table) row(cells ...string) { t.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func (t *table) say(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// Markdown is the report as text.
func (r *Report) Markdown() string {
	t := &table{}
	t.say("Machine: %s.\n", r.Machine)
	r.when(t)
	r.budgets(t)
	r.sweeps(t)
	r.programs(t)
	r.rest(t)
	r.overhead(t)
	r.optional(t)
	return t.String()
}

// when says when each part was measured, and how busy the machine was.
func (r *Report) when(t *table) {
	t.head("part", "measured", "revision", "took, s", "load average before", "after")
	for _, part := range Parts {
		w, ok := r.When[part]
		if !ok {
			continue
		}
		name := part
		if w.Quick {
			name += " (quick: poor numbers)"
		}
		t.row(name, w.Date, w.Revision, number(w.Seconds), w.LoadBefore, w.LoadAfter)
	}
}

func (r *Report) budgets(t *table) {
	if len(r.Budgets) == 0 {
		return
	}
	t.say("\n### Budgets\n")
	t.head("what", "budget", "measured", "verdict")
	for _, b := range r.Budgets {
		t.row(b.What, number(b.Limit)+" "+b.Unit, number(b.Measured)+" "+b.Unit, b.Verdict())
	}
}

func (r *Report) sweeps(t *table) {
	if len(r.Sweep) == 0 {
		return
	}
	t.say("\n### One sweep over every cgroup\n")
	t.head("cgroups", "iterator, ms", "quartiles", "cgroupfs, ms", "quartiles", "times faster", "CPU time, ms", "times cheaper", "quartiles", "both with nobody in them, ms")
	for _, s := range r.Sweep {
		t.row(integer(s.Cgroups), number(s.EBPF), spread(s.EBPFSpread), number(s.Cgroupfs), spread(s.CgroupfsSpread),
			number(s.Ratio.Median), number(s.EBPFCPU.Median)+" and "+number(s.CgroupfsCPU.Median),
			number(s.RatioCPU.Median), spread(s.RatioCPU), number(s.EBPFEmpty)+" and "+number(s.CgroupfsEmpty))
	}
	last := r.Sweep[len(r.Sweep)-1]
	t.say("\nOf the %s ms of CPU time for %s cgroups by cgroupfs:\n", number(last.CgroupfsCPU.Median), integer(last.Cgroups))
	for _, f := range last.Files {
		t.say("- `%s`: %s ms", f.Name, number(f.MS))
	}
	t.say("\nReading the node, which a tick does besides: %s ms of CPU time.", number(last.Node))
}

func (r *Report) programs(t *table) {
	if len(r.Programs) == 0 {
		return
	}
	t.say("\n### Every BPF program, one event\n")
	t.head("program", "ns", "quartiles of the batches", "runs", "event")
	for _, p := range r.Programs {
		t.row("`"+p.Name+"`", number(p.NS), spread(p.Spread), integer(p.Runs), p.Event)
	}
}

func (r *Report) rest(t *table) {
	if len(r.Rest) == 0 {
		return
	}
	t.say("\n### Collectors at rest\n")
	t.head("what", "every, ms", "cgroups", "% of a core", "least to greatest", "resident, MiB", "of it anonymous, MiB")
	for _, row := range r.Rest {
		t.row(row.What, integer(int(row.Interval)), integer(row.Cgroups), number(row.CPU), reach(row.CPUSpread), number(row.RSS), number(row.Anonymous))
	}
}

func (r *Report) overhead(t *table) {
	if len(r.Overhead) == 0 {
		return
	}
	t.say("\n### What a load loses\n")
	t.head("load", "without", "with", "loss, %", "quartiles", "pairs", "noise, %", "loss per CPU time, %", "quartiles", "how")
	for _, o := range r.Overhead {
		t.row(o.Load, number(o.Without.Median)+" "+o.Unit, number(o.With.Median)+" "+o.Unit, number(o.Loss), spread(o.LossSpread),
			strconv.Itoa(o.LossSpread.N), number(o.Noise), number(o.CPULoss), spread(o.CPULossSpread), o.How)
	}
	t.say("\nWhat can be accounted for, in a run of its own with the kernel's statistics on. A load on every CPU can lose this,\n" +
		"divided by their number; one on a single CPU, between that and all of it.\n")
	t.head("load", "the collector, % of a core", "programs where their events happen, % of a core", "both, % of "+strconv.Itoa(r.Machine.Cores)+" CPUs")
	for _, o := range r.Overhead {
		t.row(o.Load, number(o.CollectorCPU), number(o.elsewhere()), number((o.CollectorCPU+o.elsewhere())/float64(max(r.Machine.Cores, 1))))
	}
	t.say("\nOf it, every program; `sweep_cgroup` and `sample_node` run in the collector's own time:\n")
	t.head("load", "program", "events/s", "ns", "% of a core")
	for _, o := range r.Overhead {
		for _, s := range o.Shares {
			t.row(o.Load, "`"+s.Program+"`", number(s.Rate), number(s.NS), number(s.CPU))
		}
	}
}

func (r *Report) optional(t *table) {
	if len(r.Optional) == 0 {
		return
	}
	t.say("\n### What is off by default\n")
	t.head("setting", "load", "without it", "with", "loss, %", "quartiles", "pairs", "noise, %", "loss per CPU time, %", "quartiles")
	for _, o := range r.Optional {
		t.row("`"+o.Option+"`", o.Load, number(o.Without.Median)+" "+o.Unit, number(o.With.Median)+" "+o.Unit, number(o.Loss), spread(o.LossSpread),
			strconv.Itoa(o.LossSpread.N), number(o.Noise), number(o.CPULoss), spread(o.CPULossSpread))
	}
	t.say("\nThe greatest shares of programs in it:\n")
	t.head("setting", "program", "events/s", "ns", "% of a core")
	for _, o := range r.Optional {
		for _, s := range o.Shares[:min(3, len(o.Shares))] {
			t.row("`"+o.Option+"`", "`"+s.Program+"`", number(s.Rate), number(s.NS), number(s.CPU))
		}
	}
}

// Publish puts the report's text between the marks in a document.
func (r *Report) Publish(document string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	updated, err := between(string(text), r.Markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(updated), 0o644)
}

func between(document, text string) (string, error) {
	before, rest, begins := strings.Cut(document, beginMark)
	_, after, ends := strings.Cut(rest, endMark)
	if !begins || !ends {
		return "", fmt.Errorf("the marks %q and %q are not both there", beginMark, endMark)
	}
	return before + beginMark + "\n" + text + endMark + after, nil
}
