// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package outage

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// File is the name of the report.
const File = "report.json"

// Case is one outage. Records are told apart by reflex.record.id.
type Case struct {
	Name string `json:"name"`
	// Expected counts the records that the journal had, Delivered those of them that the
	// backend got, Lost the others, Altered those that were not what the journal says or
	// not the same each time they came, Repeated those that came more than once.
	Expected  int `json:"expected"`
	Delivered int `json:"delivered"`
	Lost      int `json:"lost"`
	Altered   int `json:"altered"`
	Repeated  int `json:"repeated"`
	// TickToKnob is of the orders written while the outage lasted, ms.
	TickToKnobP50 float64 `json:"tick_to_knob_p50_ms"`
	TickToKnobP99 float64 `json:"tick_to_knob_p99_ms"`
	Orders        int     `json:"orders"`
	// Outage is how long nothing arrived, CaughtUp how long after its end all was there, in
	// seconds.
	Outage   float64 `json:"outage_s"`
	CaughtUp float64 `json:"caught_up_s"`
	// Release is, where the collector ended in the middle, how long after that the original
	// was back, in seconds, and TTL the life of the lease.
	Release float64 `json:"release_s,omitempty"`
	TTL     float64 `json:"ttl_s,omitempty"`
	// Failures is what else was not as promised.
	Failures []string `json:"failures"`
}

// Report is what make outage writes.
type Report struct {
	Revision string `json:"revision"`
	Kernel   string `json:"kernel"`
	Cases    []Case `json:"cases"`
}

// Undisturbed begins the names of the cases without an outage: there are several, because an
// emulated machine is noisy. How much slower than the slowest of them the arc may be are
// the bounds of the end-to-end tests.
const (
	Undisturbed = "none"
	slower      = 2
	slack       = 100 // ms
)

// Broken lists the promises that were not kept.
func (r *Report) Broken() []string {
	var out []string
	calm := 0.0
	for _, c := range r.Cases {
		if strings.HasPrefix(c.Name, Undisturbed) {
			calm = max(calm, c.TickToKnobP99)
		}
	}
	if calm == 0 {
		out = append(out, "there is no case without an outage to compare with")
	}
	for i := range r.Cases {
		c := &r.Cases[i]
		for _, f := range c.Failures {
			out = append(out, c.Name+": "+f)
		}
		if c.Expected == 0 || c.Lost > 0 || c.Delivered != c.Expected {
			out = append(out, fmt.Sprintf("%s: %d of %d records arrived", c.Name, c.Delivered, c.Expected))
		}
		if c.Altered > 0 {
			out = append(out, fmt.Sprintf("%s: %d records are not what they were", c.Name, c.Altered))
		}
		if c.Release > c.TTL+1 {
			out = append(out, fmt.Sprintf("%s: given back after %.2f s, a lease lives %.0f", c.Name, c.Release, c.TTL))
		}
		if calm > 0 && c.TickToKnobP99 > slower*calm+slack {
			out = append(out, fmt.Sprintf("%s: tick to knob p99 is %.1f ms, %.1f without an outage", c.Name, c.TickToKnobP99, calm))
		}
	}
	return out
}

// Load reads the cases that a guest left in a directory.
func Load(dir string) ([]Case, error) {
	names, err := filepath.Glob(filepath.Join(dir, "cases", "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names) // they are numbered
	var out []Case
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var c Case
		if err := json.Unmarshal(text, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// Write writes the report into a directory.
func (r *Report) Write(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, File), append(text, '\n'), 0o644)
}

// Print writes the report for people.
func (r *Report) Print(to io.Writer) {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "outage\texpected\tdelivered\tlost\taltered\trepeated\ttick to knob p50, p99 (ms)\torders\tlasted (s)\tcaught up (s)\tgiven back (s)")
	for _, c := range r.Cases {
		back := "–"
		if c.TTL > 0 {
			back = fmt.Sprintf("%.2f of %.0f", c.Release, c.TTL)
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%.1f, %.1f\t%d\t%.1f\t%.1f\t%s\n", c.Name, c.Expected, c.Delivered, c.Lost, c.Altered, c.Repeated,
			c.TickToKnobP50, c.TickToKnobP99, c.Orders, c.Outage, c.CaughtUp, back)
	}
	_ = w.Flush()
	for _, b := range r.Broken() {
		fmt.Fprintln(to, "✗", b)
	}
}
