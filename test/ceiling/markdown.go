// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ceiling

import (
	"fmt"
	"strings"
)

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	l := &r.Load
	fmt.Fprintf(&b, "# The moving ceiling\n\nLinux %s under software emulation, revision %s. Host: %s.\n", r.Kernel, r.Revision, r.Host)
	fmt.Fprintf(&b, "\nA service with %d MiB of %d MiB in use is asked %g times a second; a request takes and gives back %d KiB and waits %v; at most %d are under way. "+
		"It leaks %d MB/s, in a thread of its own or %.1f MB in each request. The wall stands where the ceiling beside it began. "+
		"An answer is one however late; in time is within a second. All from the onset of the leak.\n\n",
		l.Resident>>20, l.Limit>>20, l.Rate, l.Churn>>10, l.Wait, l.Connections, l.LeakRate/1_000_000, float64(l.LeakRequest())/1e6)
	b.WriteString("| leak | held by | arm | lived | answers | in time | a second | longest gap | CPUs | waited (full) | ending |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, leak := range Leaks {
		for i := range r.Outcomes {
			if o := &r.Outcomes[i]; o.Leak == leak {
				b.WriteString(o.row())
			}
		}
	}
	b.WriteString("\n| demanded | wanted | got | |\n| --- | --- | --- | --- |\n")
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Name, c.Want, c.Got, map[bool]string{true: "yes", false: "**no**"}[c.OK])
	}
	b.WriteString("\nThe machine, arm by arm:")
	for _, m := range r.Machines {
		fmt.Fprintf(&b, " %s %.2f of %d CPUs, a timer %.0f ms late (p99);", m.Arm, m.Busy, m.CPUs, m.Lateness)
	}
	b.WriteString("\n")
	for _, t := range r.Trouble {
		fmt.Fprintf(&b, "\n- trouble: %s\n", t)
	}
	return b.String()
}

func (o *Outcome) row() string {
	lived := fmt.Sprintf("> %.0f s", o.Survival)
	if o.Died {
		lived = fmt.Sprintf("%.1f s", o.Survival)
	}
	ending := "–"
	if o.Ended != nil {
		ending = fmt.Sprintf("after %.1f s: %s", *o.Ended, o.Reason)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %d | %d | %.1f | %.2f s | %.2f → %.2f | %.0f %% | %s |\n",
		o.Leak, o.Hold, o.Arm, lived, o.Answers, o.InTime, o.Rate, o.Gap, o.CPUCalm, o.CPULeak, 100*o.Full, ending)
}
