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
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/healthy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "record-healthy:", err)
		os.Exit(2)
	}
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
	if _, err := os.Stat(set.Reflexctl); err != nil {
		return fmt.Errorf("find reflexctl (run `make build`): %w", err)
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
