// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is the name of a report.
const File = "crash.json"

// Report is what came of it.
type Report struct {
	Kernel   string  `json:"kernel"`
	Revision string  `json:"revision"`
	TTL      float64 `json:"ttl_s"`
	Seed     uint64  `json:"seed"`
	// Cases were played to their end, Kills signals were sent and took effect, of
	// both kinds.
	Cases int            `json:"cases"`
	Kills int            `json:"kills"`
	By    map[string]int `json:"kills_by"` // "SIGKILL guard"
	// Steps are the steps at which a process stopped itself, with how often.
	Steps map[string]int `json:"steps_hit"`
	// Missed are cases whose step was not reached, Disturbed those that were
	// repeated because the judge itself was kept from looking.
	Missed     []string    `json:"missed"`
	Disturbed  int         `json:"disturbed"`
	Families   []Family    `json:"families"`
	Violations []Violation `json:"violations"`
	// Simulated is the other half, where it was run: steps against a fake machine.
	Simulated *Simulated `json:"simulated,omitempty"`
}

// Family is the cases of one kind. Back is how long after the last order the
// knob was at its owner's value again, in seconds, over the cases that saw it
// turned.
type Family struct {
	Name   string  `json:"name"`
	Cases  int     `json:"cases"`
	Turned int     `json:"turned"`
	P50    float64 `json:"back_p50_s"`
	P95    float64 `json:"back_p95_s"`
	Max    float64 `json:"back_max_s"`

	back []float64
}

// Violation is a broken promise.
type Violation struct {
	Case string `json:"case"`
	What string `json:"what"`
}

// Simulated is the result of the randomised steps of internal/guard.
type Simulated struct {
	Steps      int `json:"steps"`
	Calls      int `json:"calls"`
	Crashes    int `json:"crashes"`
	Violations int `json:"violations"`
}

func (r *Report) family(name string) *Family {
	for i := range r.Families {
		if r.Families[i].Name == name {
			return &r.Families[i]
		}
	}
	r.Families = append(r.Families, Family{Name: name})
	return &r.Families[len(r.Families)-1]
}

func (r *Report) conclude() {
	slices.SortFunc(r.Families, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	for i := range r.Families {
		f := &r.Families[i]
		slices.Sort(f.back)
		if n := len(f.back); n > 0 {
			f.P50, f.P95, f.Max = f.back[n/2], f.back[min(n-1, n*95/100)], f.back[n-1]
		}
	}
}

// Print writes what people read.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%d kills in %d cases on Linux %s, leases of %v: %d violations, %d disturbed, %d steps not reached\n",
		r.Kills, r.Cases, r.Kernel, time.Duration(r.TTL*float64(time.Second)), len(r.Violations), r.Disturbed, len(r.Missed))
	fmt.Fprintf(w, "%-44s %6s %7s  back after the last order: p50, p95, max\n", "", "cases", "turned")
	for _, f := range r.Families {
		fmt.Fprintf(w, "%-44s %6d %7d  %.2f s, %.2f s, %.2f s\n", f.Name, f.Cases, f.Turned, f.P50, f.P95, f.Max)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(w, "VIOLATION %s: %s\n", v.Case, v.What)
	}
	if s := r.Simulated; s != nil {
		fmt.Fprintf(w, "simulated: %d steps with %d calls on the kernel and %d crashes: %d violations\n", s.Steps, s.Calls, s.Crashes, s.Violations)
	}
}

// Total returns the violations of both halves.
func (r *Report) Total() int {
	n := len(r.Violations)
	if r.Simulated != nil {
		n += r.Simulated.Violations
	}
	return n
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

// Load reads a report from a directory.
func Load(dir string) (*Report, error) {
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, errors.Join(fmt.Errorf("read %s", File), err)
	}
	return r, nil
}

// AddSimulated reads the result of the other half from a file.
func (r *Report) AddSimulated(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	r.Simulated = &Simulated{}
	if err := json.Unmarshal(text, r.Simulated); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}
