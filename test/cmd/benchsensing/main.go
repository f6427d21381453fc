// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command benchsensing measures what it costs to see a node and prints which
// budgets are met. Its exit code is 0 whether they are or not, 2 if something
// could not be measured.
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
	"github.com/otelcol-reflex/reflex/test/sensing"
)

func main() {
	command.Main("benchsensing", func(ctx context.Context, args []string) (passed bool, err error) { return true, run(ctx, args) })
}

// run is the measurement, or one of its loads: "load NAME SPAN".
func run(ctx context.Context, args []string) error {
	if len(args) == 3 && args[0] == "load" {
		span, err := time.ParseDuration(args[2])
		if err != nil {
			return err
		}
		return sensing.Role(args[1], span)
	}
	return measure(ctx, args)
}

func measure(ctx context.Context, args []string) error {
	o := sensing.Options{Progress: os.Stdout}
	flags := flag.NewFlagSet("benchsensing", flag.ContinueOnError)
	flags.StringVar(&o.Dist, "dist", "../dist", "`directory` with otelcol-reflex")
	flags.StringVar(&o.Objects, "objects", "../bpf", "`directory` with the compiled BPF programs")
	flags.StringVar(&o.Revision, "revision", "unknown", "what is measured, for the record")
	flags.BoolVar(&o.Quick, "quick", false, "measure little and poorly, in a minute or two")
	output := flags.String("output", "../dist/bench", "`directory` for the report")
	document := flags.String("document", "", "`file` in whose marked section the tables are written")
	keep := flags.Bool("keep", false, "take the parts that are not measured from the report in --output")
	parts := flags.String("parts", strings.Join(sensing.Parts, ","), "what to measure")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o.Parts = strings.Split(*parts, ",")
	for _, path := range []*string{&o.Dist, &o.Objects, output} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	var before *sensing.Report
	if *keep {
		var err error
		if before, err = sensing.Load(*output); err != nil {
			return err
		}
	}
	r, err := sensing.Run(ctx, o, before)
	if err != nil {
		return err
	}
	return conclude(r, *output, *document)
}

func conclude(r *sensing.Report, output, document string) error {
	err := r.Write(output)
	if document != "" {
		err = errors.Join(err, r.Publish(document))
	}
	fmt.Printf("\n%s\n", r.Markdown())
	for _, b := range r.Budgets {
		fmt.Println(b)
	}
	fmt.Println("\nReport:", filepath.Join(output, sensing.DataFile))
	return err
}
