// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// Parts of a run.
const (
	PartSweep    = "sweep"
	PartPrograms = "programs"
	PartRest     = "rest"
	PartOverhead = "overhead"
	PartOptional = "optional"
)

// Parts are all parts, in the order in which they run.
var Parts = []string{PartSweep, PartPrograms, PartRest, PartOverhead, PartOptional}

// Options say what to measure.
type Options struct {
	// Dist is the directory with otelcol-reflex, Objects the one with the
	// compiled BPF programs.
	Dist, Objects string
	// Revision is what is measured, for the record.
	Revision string
	// Parts are those wanted; Quick makes all of them short and their numbers
	// poor.
	Parts []string
	Quick bool
	// Progress receives a line whenever something is done.
	Progress io.Writer
}

// effort is how much is done of each part.
type effort struct {
	cgroups []int
	rounds  int
	batches int
	resting resting
	sizes   sizes
}

func (o *Options) effort() effort {
	if o.Quick {
		return effort{
			cgroups: []int{10, 100, 1000}, rounds: 6, batches: 3,
			resting: resting{rounds: 1, settle: 2 * time.Second, period: 3 * time.Second},
			sizes:   sizes{pairs: 2, builds: 2, talks: 2, span: 500 * time.Millisecond, loops: 50_000, target: "errors"},
		}
	}
	return effort{
		cgroups: []int{10, 100, 1000, 5000}, rounds: 24, batches: 8,
		resting: resting{rounds: 3, settle: 5 * time.Second, period: 12 * time.Second},
		sizes:   sizes{pairs: 24, builds: 10, talks: 60, span: time.Second, loops: 150_000, target: "errors", optional: 2 * time.Second},
	}
}

// Run measures. It needs root, BTF and cgroup v2. Parts that are not wanted are
// taken from before, unless that is nil. On an error or when ctx ends it returns
// what it has, with everything it made put away.
func Run(ctx context.Context, o Options, before *Report) (*Report, error) {
	r := before
	if r == nil {
		r = newReport(Machine{})
	}
	r.Machine = thisMachine()
	for _, part := range o.Parts {
		if !slices.Contains(Parts, part) {
			return r, fmt.Errorf("there is no part %q; there are %v", part, Parts)
		}
	}
	mount, err := cgroupfs.FindRoot()
	if err != nil {
		return r, err
	}
	run := &run{Options: o, report: r, mount: mount, binary: filepath.Join(o.Dist, "otelcol-reflex"), effort: o.effort()}
	for _, part := range Parts {
		if !slices.Contains(o.Parts, part) {
			continue
		}
		run.say("%s", part)
		start, load := time.Now(), loadAverage()
		if err := run.part(ctx, part); err != nil {
			return r, fmt.Errorf("%s: %w", part, err)
		}
		r.When[part] = When{
			start.UTC().Format("2006-01-02 15:04 UTC"), o.Revision, time.Since(start).Seconds(), load, loadAverage(), o.Quick,
		}
	}
	r.judge()
	return r, nil
}

type run struct {
	Options
	effort
	report        *Report
	mount, binary string
}

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.Progress, format+"\n", args...) }

func (r *run) part(ctx context.Context, part string) (err error) {
	switch part {
	case PartSweep:
		return r.sweeps(ctx)
	case PartPrograms:
		r.report.Programs, err = measurePrograms(ctx, r.mount, r.Objects, r.batches)
	case PartRest:
		r.report.Rest, err = measureRest(ctx, r.mount, r.binary, r.resting, r.say)
	case PartOverhead:
		r.report.Overhead, err = measureOverhead(ctx, r.mount, r.binary, r.sizes, r.say)
	case PartOptional:
		r.report.Optional, err = measureOptional(ctx, r.mount, r.binary, r.sizes, r.say)
	}
	return err
}

func (r *run) sweeps(ctx context.Context) error {
	r.report.Sweep = r.report.Sweep[:0]
	for _, n := range r.cgroups {
		s, err := measureSweep(ctx, r.mount, n, r.rounds)
		if err != nil {
			return fmt.Errorf("%d cgroups: %w", n, err)
		}
		r.say("  %d cgroups: %.3f ms, cgroupfs %.2f ms, %.0f times", n, s.EBPF, s.Cgroupfs, s.Ratio.Median)
		r.report.Sweep = append(r.report.Sweep, s)
	}
	return nil
}
