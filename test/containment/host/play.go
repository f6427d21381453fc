// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/containment/guest"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// Options say what to play.
type Options struct {
	// Dist holds otelcol-reflex and reflexguard. Output receives everything.
	Dist, Output string
	// KernelName is what vmtest calls the kernel.
	KernelName string
	Revision   string
	// Runs is how often each scenario is played.
	Runs int
	// Only names the scenarios, all for none.
	Only []string
	// Guards are the places of the guard, Ticks has tick to knob measured, in the
	// first run.
	Guards []string
	Ticks  bool
	Learn  time.Duration
	// Kills is how many the crash matrix sends at least where all scenarios are
	// played, Simulated the file with the result of its simulated steps.
	Kills     int
	Simulated string
	// Progress receives lines for people.
	Progress io.Writer
}

const (
	// memoryMiB is for the working sets of all scenarios at once.
	memoryMiB = 6144
	// stormRate bounds what a scenario does to the disks of the host.
	stormRate = 64 << 20
	swapRate  = 128 << 20
	// timeout bounds one boot.
	timeout = 20 * time.Minute
	// ticksFor is the length of a measurement of tick to knob: four ceilings that
	// move up to ten times a second are 1,000 samples in 25 s.
	ticksFor = 30 * time.Second
)

// Play plays everything and returns the report.
func Play(ctx context.Context, o Options) (*containment.Report, error) {
	scenarios, err := containment.Select(containment.Scenarios, o.Only)
	if err != nil {
		return nil, err
	}
	if err := vmtest.Built(o.Dist, "otelcol-reflex", "reflexguard"); err != nil {
		return nil, err
	}
	kernel, err := vmtest.Fetch(ctx, o.KernelName, o.Progress)
	if err != nil {
		return nil, err
	}
	program, err := vmtest.BuildProgram(ctx, "github.com/otelcol-reflex/reflex/test/cmd/containment-guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(filepath.Dir(program))
	s := &suite{Options: o, kernel: kernel, program: program, begun: time.Now()}
	before := load()
	for run := 1; run <= o.Runs; run++ {
		for _, place := range o.Guards {
			if err := s.boot(ctx, run, place, scenarios); err != nil {
				s.failures = append(s.failures, fmt.Sprintf("run %d, guard %s: %v", run, place, err))
				s.say("%v", err)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	r := containment.Analyse(scenarios, s.trials, s.ticks)
	r.Kernel, r.Revision, r.Runs = kernel.Release, o.Revision, o.Runs
	r.Host = fmt.Sprintf("%d CPUs, load average %s before and %s after", runtime.NumCPU(), before, load())
	r.Trouble = append(r.Trouble, s.notices...)
	if len(o.Only) == 0 {
		if c, err := s.crash(ctx); err != nil {
			s.failures = append(s.failures, err.Error())
		} else {
			r.Crashed(c)
		}
	}
	for _, f := range s.failures { // what was not played was not passed
		r.Broken, r.Passed = append(r.Broken, f), false
	}
	return r, r.Write(o.Output)
}

// load is the host's load average over a minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	average, _, _ := strings.Cut(string(text), " ")
	return average
}

// suite is a number of boots.
type suite struct {
	Options
	kernel   vmtest.Kernel
	program  string
	begun    time.Time
	trials   []containment.Trial
	ticks    []containment.Ticks
	notices  []string
	failures []string
}

// boot boots one machine and takes in what it tells.
func (s *suite) boot(ctx context.Context, run int, place string, scenarios []containment.Scenario) error {
	var names []string
	for _, c := range scenarios {
		if place == containment.Separate || c.Embedded {
			names = append(names, c.Name)
		}
	}
	ticks := s.Ticks && run == 1
	if len(names) == 0 && !ticks {
		return nil
	}
	out := filepath.Join(s.Output, fmt.Sprintf("run-%d-%s", run, place))
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(out, "console.log"))
	if err != nil {
		return err
	}
	defer console.Close()
	s.say("run %d of %d, guard %s: %d scenarios", run, s.Runs, place, len(names))
	heard := &ear{say: s.say}
	m := vmtest.Machine{
		Kernel: s.kernel, Modules: []string{"veth", "sch_tbf", "tcp_diag"}, MemoryMiB: memoryMiB, CPUs: 2, Timeout: timeout,
		Disks: []vmtest.Disk{{MiB: 512, BytesPerSecond: stormRate}, {MiB: 1024, BytesPerSecond: swapRate}},
		Files: []vmtest.File{
			{Guest: "/suite/containment-guest", Host: s.program, Mode: 0o755},
			{Guest: "/suite/otelcol-reflex", Host: filepath.Join(s.Dist, "otelcol-reflex"), Mode: 0o755},
			{Guest: "/suite/reflexguard", Host: filepath.Join(s.Dist, "reflexguard"), Mode: 0o755},
		},
		Command: []string{
			"/suite/containment-guest", "run", "-collector", "/suite/otelcol-reflex", "-reflexguard", "/suite/reflexguard",
			"-guard", place, "-learn", s.Learn.String(), "-scenarios", strings.Join(names, ","),
			"-ticks=" + strconv.FormatBool(ticks), "-ticks-for", ticksFor.String(), "-seed", strconv.Itoa(run),
		},
		Output: &vmtest.Lines{Line: heard.line}, Console: console,
	}
	exit, err := m.Run(ctx, out)
	switch {
	case heard.failure != "":
		err = errors.Join(fmt.Errorf("it ended early: %s", heard.failure), err)
	case err == nil && exit != 0:
		err = fmt.Errorf("it ended with exit code %d: %s", exit, heard.last)
	}
	if answers, readErr := readAnswers(out); readErr == nil {
		containment.Hear(heard.trials, answers)
	} else {
		heard.notices = append(heard.notices, fmt.Sprintf("run %d, guard %s: the neighbour's answers are lost: %v", run, place, readErr))
	}
	s.trials, s.ticks, s.notices = append(s.trials, heard.trials...), append(s.ticks, heard.ticks...), append(s.notices, heard.notices...)
	return err
}

func readAnswers(dir string) ([]recording.Answer, error) {
	f, err := os.Open(filepath.Join(dir, guest.AnswersFile))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return recording.ReadAnswers(f)
}

// say tells people how far it is.
func (s *suite) say(format string, args ...any) {
	fmt.Fprintf(s.Progress, "%6.0f s  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}
