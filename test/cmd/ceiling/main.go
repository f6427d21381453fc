// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command ceiling compares the moving ceiling with a wall and with no limit, in a
// virtual machine, and writes its report. Its exit code is 0 if the ceiling does what
// is demanded of it, 1 if not, and 2 if the comparison could not be played.
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

	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/ceiling/host"
	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/demo"
)

func main() { command.Main("ceiling", run) }

func run(ctx context.Context, args []string) (passed bool, err error) {
	o := host.Options{Progress: os.Stdout}
	flags := flag.NewFlagSet("ceiling", flag.ContinueOnError)
	flags.StringVar(&o.Dist, "dist", "../dist", "`directory` with otelcol-reflex and reflexguard")
	flags.StringVar(&o.Output, "output", "../dist/ceiling", "`directory` for the report and everything it is made from")
	flags.StringVar(&o.KernelName, "kernel", "6.12", "kernel of the virtual machine")
	flags.StringVar(&o.Revision, "revision", "unknown", "what is tested, for the record")
	flags.DurationVar(&o.Calm, "calm", 45*time.Second, "length of the calm before the leaks")
	flags.Uint64Var(&o.Seed, "seed", 2, "seed of the schedule of requests")
	only := flags.String("only", "", "comma-separated `names` of arms (default: all)")
	again := flags.Bool("again", false, "do not play: report again on what --output holds")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	if o.Arms, err = ceiling.Select(strings.FieldsFunc(*only, func(r rune) bool { return r == ',' })); err != nil {
		return false, err
	}
	for _, path := range []*string{&o.Dist, &o.Output} {
		if *path, err = filepath.Abs(*path); err != nil {
			return false, err
		}
	}
	var r *ceiling.Report
	if *again {
		r, err = host.Conclude(o, o.KernelName)
	} else if err = errors.Join(os.MkdirAll(o.Output, 0o755), demo.EnsureQEMU(ctx, os.Stdout)); err == nil {
		r, err = host.Play(ctx, o)
	}
	if err != nil {
		return false, err
	}
	fmt.Printf("\n%s\nReport: %s\n", r.Markdown(), filepath.Join(o.Output, ceiling.PageFile))
	return r.Passed, nil
}
