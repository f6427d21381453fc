// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// errMissing is what probe ends with when something is missing.
var errMissing = errors.New("not everything is there")

// requirement is one thing that Reflex needs from machine or privilege.
type requirement struct {
	Name    string `json:"name"`
	Present bool   `json:"present"`
	Cause   string `json:"cause,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// group is what one mode needs.
type group struct {
	Ready        bool      `json:"ready"`
	Requirements []finding `json:"requirements"`
}

// report is what probe found.
type report struct {
	Kernel string `json:"kernel"`
	Cgroup cgroup `json:"cgroup"`
	// Observe is what sensing and deciding need; Enforce is what a guard needs
	// besides.
	Observe group `json:"observe"`
	// Optional is what counting the traffic of cgroups needs, which is off by
	// default: no exit status is about it.
	Optional group `json:"optional"`
	Enforce  group `json:"enforce"`
	// Dimensions are all there are, each with who reads it here.
	Dimensions []dimension `json:"dimensions"`
	// Measured is there where --measure asked for it.
	Measured *measurement `json:"measured,omitempty"`
	Verdict  verdict      `json:"verdict"`
}

// cgroup is what this machine's cgroup v2 looks like.
type cgroup struct {
	Root        string   `json:"root,omitempty"`
	Controllers []string `json:"controllers"`
	Cgroups     int      `json:"cgroups"`
}

// machine is where probe looks; tests bring their own.
type machine struct {
	kernel  func() string
	sensing func() []bpf.Requirement
	traffic func() []bpf.Requirement
	acting  func() []guard.Requirement
	open    func() *sources.Sources
	measure func(context.Context, *sources.Sources, time.Duration) (*measurement, error)
	root    func() (string, error)
	psi     string
}

func thisMachine() machine {
	return machine{
		kernel: func() string {
			var name unix.Utsname
			if unix.Uname(&name) != nil {
				return "unknown"
			}
			return unix.ByteSliceToString(name.Release[:])
		},
		sensing: bpf.Probe,
		traffic: bpf.ProbeTraffic,
		acting:  guard.Requirements,
		open: func() *sources.Sources {
			return sources.Open(sources.Settings{MaxCgroups: bpf.DefaultMaxCgroups}, new(sampler.SystemClock))
		},
		measure: measureSources,
		root:    cgroupfs.FindRoot,
		psi:     "/proc/pressure/memory",
	}
}

func probeCommand() *cobra.Command { return probeCommandOn(thisMachine()) }

func probeCommandOn(m machine) *cobra.Command {
	mode := "observe"
	var span time.Duration
	c := &cobra.Command{
		Use:   "probe",
		Short: "Say what this machine has and lacks for Reflex, and what that costs",
		Long: `Say what this machine has and lacks for Reflex, why, what it costs to be without,
and how to get it. For each program: who pays for it, how much, and for which
dimensions; for what is missing: which dimensions are absent, which files take a
program's place for the others, and how old their values may be.

It opens the sources that the ebpf receiver opens, looks at what fills each
dimension, and closes them: nothing stays attached, nothing is written. What needs a
privilege is tried with the privileges of reflexctl itself: run it the way the
collector (for observe) or reflexguard (for enforce) runs. Reflex starts
without most of what is listed and does without it.

--measure attaches the receiver's default programs for that long, reads them every
100 ms as the receiver does, and tells from the kernel's own statistics how often
each ran, how long it took, and what share of a core that is. While it lasts, every
BPF program of the machine, other people's included, costs a look at the clock
more a run. An interrupt (SIGINT, SIGTERM) ends it early; everything is detached in
each case. It takes CAP_SYS_ADMIN and Linux 5.8.

Exit status: 0 everything that --mode needs is there, 3 something is missing,
1 the probe itself failed.`,
		Example: `  sudo reflexctl probe
  sudo reflexctl probe --measure 5s
  sudo reflexctl probe --mode enforce --output json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(c)
	c.Flags().StringVar(&mode, "mode", mode, "what the exit status is about: observe, or enforce, which needs both")
	c.Flags().DurationVar(&span, "measure", 0, "also measure for this long what each program costs on this machine, e.g. 5s")
	complete(c, "mode", "observe", "enforce")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if mode != "observe" && mode != "enforce" {
			return fmt.Errorf(`invalid argument %q for "--mode" flag: must be one of observe, enforce`, mode)
		}
		if span != 0 && (span < shortestMeasure || span > longestMeasure) {
			return fmt.Errorf(`invalid argument %q for "--measure" flag: must be between %v and %v`, span, shortestMeasure, longestMeasure)
		}
		r, err := m.probe(c.Context(), span)
		write := r.table
		if *output == asJSON {
			write = r.json
		}
		if err := errors.Join(err, write(c.OutOrStdout())); err != nil {
			return err
		}
		if !r.Observe.Ready || mode == "enforce" && !r.Enforce.Ready {
			c.SilenceErrors = true // the table has said it
			c.Root().SilenceErrors = true
			return errMissing
		}
		return nil
	}
	return c
}

// probe looks at the machine, and measures for span unless that is 0; the error is
// that of measuring, and the report is whole but for it.
func (m machine) probe(ctx context.Context, span time.Duration) (r report, err error) {
	r = report{Kernel: m.kernel(), Cgroup: cgroup{Controllers: []string{}}}
	src := m.open()
	defer closeSources(src)
	seen := map[string]bool{}
	for _, q := range m.sensing() {
		r.Observe.add(requirement(q))
		seen[q.Name] = true
	}
	for _, q := range m.facts(&r.Cgroup) {
		if !seen[q.Name] {
			r.Observe.add(q)
			seen[q.Name] = true
		}
	}
	for _, q := range src.Missing {
		if !seen[q.Name] {
			r.Observe.add(requirement{Name: q.Name, Cause: q.Cause, Remedy: q.Remedy})
		}
	}
	for _, q := range m.traffic() {
		r.Optional.add(requirement(q))
	}
	for _, g := range []*group{&r.Observe, &r.Optional} {
		for i := range g.Requirements {
			g.Requirements[i].explain(src)
		}
	}
	for _, q := range m.acting() {
		r.Enforce.add(requirement(q))
	}
	for i := range r.Enforce.Requirements {
		q := &r.Enforce.Requirements[i]
		q.Without = withoutIt[q.Name]
	}
	r.Observe.judge()
	r.Optional.judge()
	r.Enforce.judge()
	r.Dimensions = dimensionsOf(src)
	r.Verdict = r.decide()
	if span > 0 {
		r.Measured, err = m.measure(ctx, src, span)
	}
	return r, err
}

func (g *group) add(q requirement) { g.Requirements = append(g.Requirements, finding{requirement: q}) }

func (g *group) judge() {
	g.Ready = true
	for _, q := range g.Requirements {
		g.Ready = g.Ready && q.Present
	}
}

// facts fills c and says what observing needs of cgroup v2 and PSI.
func (m machine) facts(c *cgroup) []requirement {
	root, err := m.root()
	if err != nil {
		return []requirement{{
			Name: "cgroup v2", Cause: err.Error(),
			Remedy: cgroupfs.UnifiedRemedy,
		}}
	}
	c.Root = root
	out := []requirement{{Name: "cgroup v2", Present: true}}
	if text, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil {
		c.Controllers = append(c.Controllers, strings.Fields(string(text))...)
	}
	for _, name := range []string{"memory", "cpu", "pids", "io"} {
		controller := requirement{Name: name + " controller", Present: cgroupfs.HasController(root, name)}
		if !controller.Present {
			controller.Cause = "cgroup.controllers in " + root + " does not list " + name
			controller.Remedy = cgroupfs.ControllerRemedy(root, name)
		}
		out = append(out, controller)
	}
	walk := requirement{Name: "readable cgroups"}
	if walk.Present, c.Cgroups, err = count(root); err != nil {
		walk.Cause, walk.Remedy = err.Error(), "mount "+root+" into the container, and let the user read it"
	}
	out = append(out, walk)
	pressure := requirement{Name: "PSI", Present: true}
	if _, err := os.ReadFile(m.psi); err != nil {
		pressure = requirement{
			Name: pressure.Name, Cause: err.Error(),
			Remedy: cgroupfs.PressureRemedy,
		}
	}
	return append(out, pressure)
}

// count walks the cgroups below root.
func count(root string) (ok bool, n int, err error) {
	dir, err := cgroupfs.OpenRoot(root)
	if err != nil {
		return false, 0, err
	}
	defer dir.Close()
	err = dir.Walk(func(uint64, uint64, string) error {
		n++
		return nil
	})
	return err == nil, n, err
}

func (r *report) json(to io.Writer) error {
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
