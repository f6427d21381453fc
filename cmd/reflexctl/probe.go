// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
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
	Ready        bool          `json:"ready"`
	Requirements []requirement `json:"requirements"`
}

// report is what probe found.
type report struct {
	Kernel string `json:"kernel"`
	Cgroup cgroup `json:"cgroup"`
	// Observe is what sensing and deciding need; Enforce is what a guard needs
	// besides.
	Observe group `json:"observe"`
	Enforce group `json:"enforce"`
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
	acting  func() []guard.Requirement
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
		acting:  guard.Requirements,
		root:    cgroupfs.FindRoot,
		psi:     "/proc/pressure/memory",
	}
}

func probeCommand() *cobra.Command { return probeCommandOn(thisMachine()) }

func probeCommandOn(m machine) *cobra.Command {
	mode := "observe"
	c := &cobra.Command{
		Use:   "probe",
		Short: "Say what this machine has and lacks for Reflex",
		Long: `Say what this machine has and lacks for Reflex, why, and how to get it.

Programs are tried and left attached nowhere; nothing is written. What needs a
privilege is tried with the privileges of reflexctl itself: run it the way the
collector (for observe) or reflexguard (for enforce) runs. Reflex starts
without most of what is listed and does without it.

Exit status: 0 everything that --mode needs is there, 3 something is missing,
1 the probe itself failed.`,
		Example: `  sudo reflexctl probe
  sudo reflexctl probe --mode enforce --output json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(c)
	c.Flags().StringVar(&mode, "mode", mode, "what the exit status is about: observe, or enforce, which needs both")
	complete(c, "mode", "observe", "enforce")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if mode != "observe" && mode != "enforce" {
			return fmt.Errorf(`invalid argument %q for "--mode" flag: must be one of observe, enforce`, mode)
		}
		r := m.probe()
		write := r.table
		if *output == asJSON {
			write = r.json
		}
		if err := write(c.OutOrStdout()); err != nil {
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

func (m machine) probe() report {
	r := report{Kernel: m.kernel(), Cgroup: cgroup{Controllers: []string{}}}
	seen := map[string]bool{}
	for _, q := range m.sensing() {
		r.Observe.add(requirement(q))
		seen[q.Name] = true
	}
	for _, q := range m.facts(&r.Cgroup) {
		if !seen[q.Name] {
			r.Observe.add(q)
		}
	}
	for _, q := range m.acting() {
		r.Enforce.add(requirement(q))
	}
	r.Observe.judge()
	r.Enforce.judge()
	return r
}

func (g *group) add(q requirement) { g.Requirements = append(g.Requirements, q) }

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
			Remedy: "boot with psi=1 on a kernel with CONFIG_PSI",
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

func (r *report) table(to io.Writer) error {
	w := newWriter(to)
	w.line("kernel\t%s", r.Kernel)
	if r.Cgroup.Root == "" {
		w.line("cgroup v2\tnone")
	} else {
		w.line("cgroup v2\t%s (%d cgroups; %s)", r.Cgroup.Root, r.Cgroup.Cgroups, list(r.Cgroup.Controllers))
	}
	w.line("")
	r.Observe.table(w, "observe (to sense and decide)")
	w.line("")
	r.Enforce.table(w, "enforce (what reflexguard needs besides)")
	return w.flush()
}

func (g *group) table(w *writer, title string) {
	state := "ready"
	if !g.Ready {
		state = "incomplete"
	}
	w.line("%s: %s", title, state)
	said := map[string]bool{} // one privilege is often the remedy of many
	for _, q := range g.Requirements {
		if q.Present {
			w.line("  ✓ %s", q.Name)
			continue
		}
		w.line("  ✗ %s\t%s", q.Name, q.Cause)
		if q.Remedy != "" && !said[q.Remedy] {
			said[q.Remedy] = true
			w.line("  \t→ %s", q.Remedy)
		}
	}
}

func list(words []string) string {
	if len(words) == 0 {
		return "no controllers"
	}
	return strings.Join(words, " ")
}
