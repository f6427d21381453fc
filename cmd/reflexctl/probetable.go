// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/otelcol-reflex/reflex/internal/words"
)

// tableWidth is how many columns the table of probe has, wherever it is read.
const tableWidth = 100

// probeTable writes what was found. It has no colour, so that it is the same in a
// terminal, a file and a ticket.
type probeTable struct {
	text strings.Builder
	// told is what has been said: remedies, and what is absent or read from
	// files. One cause has many symptoms, and is told once.
	told map[string]bool
}

func (r *report) table(to io.Writer) error {
	t := &probeTable{told: map[string]bool{}}
	t.field("kernel", r.Kernel)
	if r.Cgroup.Root == "" {
		t.field("cgroup v2", "none")
	} else {
		t.field("cgroup v2", fmt.Sprintf("%s (%d cgroups; %s)", r.Cgroup.Root, r.Cgroup.Cgroups, list(r.Cgroup.Controllers)))
	}
	t.group("observe (to sense and decide)", &r.Observe)
	t.group("optional (for cgroup_network, off by default)", &r.Optional)
	t.group("enforce (what reflexguard needs besides)", &r.Enforce)
	if r.Measured != nil {
		t.measured(r.Measured)
	}
	t.line("")
	if slices.ContainsFunc(r.Observe.Requirements, func(q finding) bool { return q.Program != nil }) {
		t.field("costs", "of one run, as published for Linux 6.18 (docs/benchmarks.md, docs/sensing.md), the statistics' own part included")
	}
	t.field("verdict", r.Verdict.Summary)
	switch {
	case r.Verdict.First != "":
		t.field("do first", "for "+r.Verdict.For+": "+r.Verdict.First)
	default:
		t.field("do first", "nothing: all there is can be had here")
	}
	_, err := io.WriteString(to, t.text.String())
	return err
}

func (t *probeTable) line(text string) {
	t.text.WriteString(strings.TrimRight(words.Printable(text), " "))
	t.text.WriteByte('\n')
}

// field writes a name and its text.
func (t *probeTable) field(name, text string) { t.wrapped(fmt.Sprintf("%-11s", name), text) }

// wrapped writes text beside a prefix, in as many lines as it takes.
func (t *probeTable) wrapped(prefix, text string) {
	indent := utf8.RuneCountInString(prefix)
	for _, line := range wrap(text, tableWidth-indent) {
		t.line(prefix + line)
		prefix = strings.Repeat(" ", indent)
	}
}

func (t *probeTable) group(title string, g *group) {
	state := "ready"
	if !g.Ready {
		state = "incomplete"
	}
	t.line("")
	t.line(title + ": " + state)
	isProgram := func(q finding) bool { return q.Program != nil }
	others := slices.DeleteFunc(slices.Clone(g.Requirements), isProgram)
	t.rows("", others)
	if len(others) < len(g.Requirements) {
		t.line("")
		t.rows("BPF programs", slices.DeleteFunc(slices.Clone(g.Requirements), func(q finding) bool { return !isProgram(q) }))
	}
}

// rows writes requirements in columns: name, cost, what for.
func (t *probeTable) rows(title string, all []finding) {
	var name, cost int
	for _, q := range all {
		name, cost = max(name, utf8.RuneCountInString(q.Name)), max(cost, utf8.RuneCountInString(q.cost()))
	}
	if cost > 0 {
		cost += 2
		t.line(fmt.Sprintf("  %-*s%-*s%s", name+4, title, cost, "cost", "for (system.*, cgroup.*)"))
	}
	for _, q := range all {
		mark := "✓"
		if !q.Present {
			mark = "✗"
		}
		row := fmt.Sprintf("  %s %-*s", mark, name+2, q.Name)
		if cost > 0 {
			row += fmt.Sprintf("%-*s", cost, q.cost())
		}
		t.wrapped(row, q.purpose())
		if !q.Present {
			t.lack(&q)
		}
	}
}

// lack writes why something is missing, what it costs, and what to do.
func (t *probeTable) lack(q *finding) {
	const indent = "      "
	cause := q.Cause
	if t.told[q.Remedy] { // the first of its kind has been told in full
		if lines := wrap(cause, tableWidth-len(indent)-9); len(lines) > 1 {
			cause = lines[0] + " …"
		}
	}
	t.wrapped(indent+"why      ", cause)
	if q.Remedy != "" && !t.told[q.Remedy] {
		t.told[q.Remedy] = true
		t.wrapped(indent+"       → ", q.Remedy)
	}
	if q.Without != "" {
		t.wrapped(indent+"without  ", q.Without)
	}
	if names := t.news(q.Absent); len(names) > 0 {
		t.wrapped(indent+"absent   ", strings.Join(names, ", "))
	}
	for _, s := range q.Instead {
		if names := t.news(s.Dimensions); len(names) > 0 {
			t.wrapped(indent+"instead  ", s.File+", "+s.age()+": "+strings.Join(names, ", "))
		}
	}
	if q.Price != "" && !t.told[q.Price] {
		t.told[q.Price] = true
		t.wrapped(indent+"price    ", q.Price)
	}
}

// news returns the names that have not been told, and tells them.
func (t *probeTable) news(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return t.told[name] })
	for _, name := range names {
		t.told[name] = true
	}
	return names
}

// cost is what a program costs, and whom.
func (q *finding) cost() string {
	if q.Program == nil {
		return ""
	}
	if q.Program.NS < 1000 {
		return fmt.Sprintf("%d ns %s", q.Program.NS, q.Program.Per)
	}
	return fmt.Sprintf("%.1f µs %s", float64(q.Program.NS)/1000, q.Program.Per)
}

// purpose says what a requirement is for, in a few words.
func (q *finding) purpose() string {
	const few = 3
	text := ""
	switch {
	case len(q.For) > few:
		text = fmt.Sprintf("%d dimensions", len(q.For))
	case len(q.For) > 0:
		short := make([]string, len(q.For))
		for i, name := range q.For {
			_, short[i], _ = strings.Cut(name, ".")
		}
		text = strings.Join(short, ", ")
	}
	if q.Unused {
		text += "; off by default"
	}
	return text
}

// wrap cuts text at spaces into lines of at most width characters; a word that is
// longer has a line of its own.
func wrap(text string, width int) []string {
	lines := []string{""}
	for word := range strings.FieldsSeq(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

func list(words []string) string {
	if len(words) == 0 {
		return "no controllers"
	}
	return strings.Join(words, " ")
}
