// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command record-healthy records healthy busy machines: virtual ones, several at
// once, each with a profile and a seed. Its exit code is 2 if one of them could not
// be recorded.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/healthy"
	"github.com/otelcol-reflex/reflex/test/vmtest"
)

func main() {
	command.Main("record-healthy", func(ctx context.Context, args []string) (passed bool, err error) { return true, run(ctx) })
}

func run(ctx context.Context) error {
	set := healthy.Settings{Notice: os.Stdout}
	dist := flag.String("dist", "../dist", "`directory` with reflexctl")
	names := flag.String("profiles", strings.Join(healthy.Profiles(), ","), "profiles of the machines, in turn")
	machines := flag.Int("machines", 6, "how many machines to record")
	seed := flag.Uint64("seed", 1, "seed of the first machine; the others follow")
	duration := flag.Duration("duration", 30*time.Minute, "how long to record each")
	flag.StringVar(&set.Output, "output", "../dist/soak/recordings", "`directory` for the recordings")
	flag.StringVar(&set.KernelName, "kernel", "6.12", "kernel of the machines")
	flag.IntVar(&set.Beside, "beside", 2, "how many machines run at once")
	flag.Parse()
	for _, p := range []*string{dist, &set.Output} {
		absolute, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = absolute
	}
	set.Reflexctl = filepath.Join(*dist, "reflexctl")
	if err := vmtest.Built(*dist, "reflexctl"); err != nil {
		return err
	}
	if *machines < 1 || *duration < time.Minute {
		return errors.New("there must be a machine to record, for a minute at least")
	}
	turn := strings.Split(*names, ",")
	var all []healthy.Recording
	for i := range *machines {
		all = append(all, healthy.Recording{Profile: turn[i%len(turn)], Seed: *seed + uint64(i), Duration: *duration})
	}
	return healthy.Record(ctx, set, all)
}
