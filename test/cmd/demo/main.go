// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo plays the 2am scenario without and with Reflex, shows it as it
// runs, and writes a report. Its exit code is 0 if the arc did what it promises,
// 1 if it did not, and 2 if the scenario could not be played.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/demo"
	"github.com/otelcol-reflex/reflex/test/demo/report"
	"github.com/otelcol-reflex/reflex/test/demo/scenario"
	"github.com/otelcol-reflex/reflex/test/demo/terminal"
)

// headroom is the memory natively wanted beside the limit of the payment service.
const headroom = 1 << 30

func main() { command.Main("demo", run) }

func run(ctx context.Context, _ []string) (passed bool, err error) {
	o := demo.Options{Settings: scenario.Default(), Notice: os.Stdout}
	where := flag.String("where", demo.Auto, "where to play: auto, native or vm")
	again := flag.Bool("again", false, "do not play: report again on what --output holds")
	flag.StringVar(&o.Dist, "dist", "../dist", "`directory` with otelcol-reflex and reflexguard")
	flag.StringVar(&o.Output, "output", "../dist/demo", "`directory` for the report and everything it is made from")
	flag.StringVar(&o.KernelName, "kernel", "6.12", "kernel of the virtual machine: 6.12 or 6.1")
	flag.Uint64Var(&o.Settings.Seed, "seed", o.Settings.Seed, "seed of the schedule of requests")
	flag.DurationVar(&o.Settings.Calm, "calm", o.Settings.Calm, "length of the calm part of an arm")
	flag.DurationVar(&o.Settings.Leak, "leak", o.Settings.Leak, "length of the leak in an arm")
	flag.Parse()
	for _, path := range []*string{&o.Dist, &o.Output} {
		if *path, err = filepath.Abs(*path); err != nil {
			return false, err
		}
	}
	show := terminal.New(os.Stdout, o.Settings.Arms)
	if !*again {
		if err := play(ctx, o, *where, show); err != nil {
			return false, err
		}
	}
	return conclude(o.Output, show)
}

// play chooses a place and plays.
func play(ctx context.Context, o demo.Options, where string, show *terminal.Timeline) error {
	defer show.Close()
	machine, err := demo.ThisMachine()
	if err != nil {
		return err
	}
	if o.Place, err = demo.Choose(where, machine, o.Settings.Limit+headroom); err != nil {
		return err
	}
	o.Watch = show.Event
	if o.Place.Where == demo.VM {
		show.Say("The 2am scenario, in a virtual machine (%s)", o.Place.Why)
		if err := demo.EnsureQEMU(ctx, o.Notice); err != nil {
			return err
		}
	} else {
		show.Say("The 2am scenario, natively (%s)", o.Place.Why)
	}
	length := time.Duration(len(o.Settings.Arms)) * (o.Settings.Calm + o.Settings.Leak)
	show.Say("Two arms of %v calm and %v leak: about %v.", o.Settings.Calm, o.Settings.Leak, (length + 40*time.Second).Round(time.Minute))
	return demo.Play(ctx, o)
}

// conclude reports on the recording in dir.
func conclude(dir string, show *terminal.Timeline) (bool, error) {
	in, err := report.Load(dir)
	if err != nil {
		return false, err
	}
	r := report.Analyse(in)
	if err := report.Write(dir, in, r); err != nil {
		return false, err
	}
	show.Say("\n%s\n", r.Headline)
	for _, c := range r.Acceptance {
		show.Verdict(c.OK, fmt.Sprintf("%s: %s (wanted: %s)", c.Name, c.Got, c.Want))
	}
	for _, t := range r.Trouble {
		show.Say("  trouble: %s", t)
	}
	show.Say("\nReport: %s", filepath.Join(dir, report.PageFile))
	if !r.Passed {
		show.Say("The arc failed: see the broken promises above.")
	}
	return r.Passed, nil
}
