// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command soak takes recordings of healthy machines through detection and policy,
// as they are, recombined, and with faults spliced in, and writes report.json. Its
// exit code is 0 if nobody healthy was touched and the faults were seen, 1 if not,
// and 2 if something could not be soaked.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/soak"
)

func main() { command.Main("soak", run) }

func run(ctx context.Context, _ []string) (passed bool, err error) {
	p := soak.Plan{Notice: os.Stderr}
	recordings := flag.String("recordings", "soak/recordings", "`directory` of recordings (*.rfx)")
	output := flag.String("output", "../dist/soak", "`directory` for report.json")
	flag.DurationVar(&p.Recombined, "recombined", 100*time.Hour, "how long to soak recombinations")
	flag.DurationVar(&p.Length, "length", 5*time.Hour, "how long one recombination is")
	flag.IntVar(&p.Trials, "trials", 60, "how often each fault is spliced in")
	flag.Uint64Var(&p.Seed, "seed", 1, "seed of the blocks and the places of faults")
	flag.IntVar(&p.Workers, "workers", runtime.GOMAXPROCS(0), "streams soaked at once")
	flag.Parse()
	if p.Recordings, err = filepath.Glob(filepath.Join(*recordings, "*.rfx")); err != nil {
		return false, err
	}
	if len(p.Recordings) == 0 {
		return false, fmt.Errorf("no recording (*.rfx) in %s: make record-healthy makes them", *recordings)
	}
	r, err := soak.Run(ctx, p)
	if err != nil {
		return false, err
	}
	path, err := r.Write(*output)
	if err != nil {
		return false, err
	}
	r.Table(os.Stdout)
	fmt.Println("report:", path)
	return r.Passed, nil
}
