// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"fmt"
	"strings"
)

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Containment\n\nLinux %s under software emulation, revision %s, %d run(s) of each scenario. Host: %s.\n", r.Kernel, r.Revision, r.Runs, r.Host)
	b.WriteString("\nOnset to contained is the time between the first act of the fault and a tighter limit, seen from outside; p95 over 20 runs or more, below that the maximum.\n")
	fmt.Fprintf(&b, "The neighbour is an innocent service that answers requests: the p99 of its latency, and the share answered within a second, before the onset → after it, and, where something was contained, of the latter from %v after that on; median over the runs.\n\n", shownAfter)
	b.WriteString("| scenario | guard | contained | p50 | p95 or max | by | innocents touched | neighbour p99 | answered |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for i := range r.Scenarios {
		b.WriteString(r.Scenarios[i].row())
	}
	b.WriteString("\nWhat the journal gives as the reasons for doing nothing, or less:\n\n")
	for _, o := range r.Scenarios {
		if len(o.Declined) > 0 {
			fmt.Fprintf(&b, "- %s (%s): %s\n", o.Name, o.Guard, strings.Join(o.Declined, "; "))
		}
	}
	b.WriteString("\n## Tick to knob\n\nFrom the scheduled tick to the return of the last write, beside a thread that waits for a 10 ms timer in the same run. Sent is from the tick to when the order left for the guard. The budget is three times that thread's p99.\n\n")
	b.WriteString("| condition | guard | samples | p50 | p99 | sent p50 | sent p99 | timer p99 | within budget |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, a := range r.TickToKnob {
		fmt.Fprintf(&b, "| %s | %s | %d | %.1f ms | %.1f ms | %.1f ms | %.1f ms | %.1f ms | %s |\n", a.Condition, a.Guard, a.Samples, a.P50, a.P99, a.SentP50, a.SentP99, a.TimerP99, yes(a.WithinBudget))
	}
	if c := r.Crash; c != nil {
		fmt.Fprintf(&b, "\n## Crash matrix\n\n%d simulated steps and %d kills in a virtual machine (%d steps not reached): %d violations.\n", c.Steps, c.Kills, c.Missed, c.Violations)
	}
	list(&b, "Broken", r.Broken)
	list(&b, "Trouble", r.Trouble)
	return b.String()
}

func (o *Outcome) row() string {
	contained := fmt.Sprintf("%d of %d", o.Contained, o.Runs)
	switch {
	case o.Expected == "untouched":
		contained = "innocent"
	case !o.Required:
		contained += " (not required yet)"
	}
	touched := "no"
	if o.InnocentTouched > 0 {
		touched = fmt.Sprintf("**%d of %d**: %s", o.InnocentTouched, o.Runs, strings.Join(o.Touched, ", "))
	}
	latency, answered := "–", "–"
	if n := o.Neighbour; n != nil {
		latency = fmt.Sprintf("%.0f → %.0f ms", n.CalmP99, n.FaultP99)
		answered = fmt.Sprintf("%.1f → %.1f %%", n.CalmAnswered*100, n.FaultAnswered*100)
		if n.Held != nil {
			latency += fmt.Sprintf(", held %.0f ms", n.Held.P99)
			answered += fmt.Sprintf(", held %.1f %%", n.Held.Answered*100)
		}
	}
	by := strings.Join(o.By, ", ")
	if by == "" {
		by = "–"
	}
	return fmt.Sprintf("| %s: %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", o.Name, o.About, o.Guard, contained,
		second(o.OnsetToContained.P50), second(o.OnsetToContained.P95), by, touched, latency, answered)
}

func second(s *float64) string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f s", *s)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "**no**"
}

func list(b *strings.Builder, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", title)
	for _, l := range lines {
		fmt.Fprintf(b, "- %s\n", l)
	}
}
