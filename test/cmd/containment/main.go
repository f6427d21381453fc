// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command containment plays the containment suite in virtual machines and writes
// its report. Its exit code is 0 if everybody innocent was left alone and all that
// is required was contained, 1 if not, and 2 if the suite could not be played.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/containment/host"
	"github.com/otelcol-reflex/reflex/test/demo"
)

func main() { command.Main("containment", run) }

func run(ctx context.Context, args []string) (passed bool, err error) {
	o := host.Options{Progress: os.Stdout}
	flags := flag.NewFlagSet("containment", flag.ContinueOnError)
	flags.StringVar(&o.Dist, "dist", "../dist", "`directory` with otelcol-reflex and reflexguard")
	flags.StringVar(&o.Output, "output", "../dist/containment", "`directory` for the report and everything it is made from")
	flags.StringVar(&o.KernelName, "kernel", "6.12", "kernel of the virtual machines")
	flags.StringVar(&o.Revision, "revision", "unknown", "what is tested, for the record")
	flags.IntVar(&o.Runs, "runs", 1, "how often each scenario is played")
	flags.BoolVar(&o.Ticks, "ticks", true, "measure tick to knob, too, in the first run")
	flags.IntVar(&o.Kills, "kills", 24, "how many kills of the crash matrix to play at least, with all scenarios")
	flags.StringVar(&o.Simulated, "simulated", "../dist/containment/simulated.json", "`file` with the result of its simulated steps")
	flags.DurationVar(&o.Learn, "learn", time.Minute, "how long Reflex learns the calm")
	only := flags.String("only", "", "comma-separated `names` of scenarios (default: all)")
	guards := flags.String("guards", containment.Separate+","+containment.Embedded, "places of the guard")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if o.Runs < 1 {
		return false, errors.New("runs must be at least 1")
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	o.Guards = strings.Split(*guards, ",")
	for _, path := range []*string{&o.Dist, &o.Output, &o.Simulated} {
		if *path, err = filepath.Abs(*path); err != nil {
			return false, err
		}
	}
	if err := errors.Join(os.MkdirAll(o.Output, 0o755), demo.EnsureQEMU(ctx, os.Stdout)); err != nil {
		return false, err
	}
	r, err := host.Play(ctx, o)
	if err != nil {
		return false, err
	}
	fmt.Printf("\n%s\nReport: %s\n", r.Markdown(), filepath.Join(o.Output, containment.TextFile))
	return r.Passed, nil
}
