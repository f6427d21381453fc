// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command healthy-guest is the only program on a healthy busy machine: the life
// of it ("run"), and every part that is played in it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/healthy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: healthy-guest run|service|runtime|build|unit|backup|log|job [flags]")
		os.Exit(2)
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	play := roles[os.Args[1]](flags)
	_ = flags.Parse(os.Args[2:]) // exits itself
	runtime.LockOSThread()       // parts measure the CPU time of their thread
	if err := play(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "healthy-guest %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// roles declare their flags and return what they do.
var roles = map[string]func(*flag.FlagSet) func(context.Context) error{
	"run": run,
	"service": func(f *flag.FlagSet) func(context.Context) error {
		var s healthy.Service
		f.IntVar(&s.Resident, "resident", 0, "bytes always in use")
		f.IntVar(&s.Peak, "peak", 0, "bytes in use at the busiest")
		f.Float64Var(&s.Share, "share", 0, "share of a CPU")
		f.Float64Var(&s.Swing, "swing", 0, "how much a day changes that")
		f.DurationVar(&s.Day, "day", 5*time.Minute, "length of a day")
		f.Uint64Var(&s.Seed, "seed", 0, "seed")
		return func(ctx context.Context) error { return s.Run(ctx) }
	},
	"runtime": func(f *flag.FlagSet) func(context.Context) error {
		var r healthy.Runtime
		f.IntVar(&r.Heap, "heap", 0, "bytes of heap")
		f.DurationVar(&r.Grow, "grow", 0, "time to grow into it")
		f.DurationVar(&r.Collect, "collect", 0, "time between collections")
		f.Float64Var(&r.Share, "share", 0, "share of a CPU")
		f.Uint64Var(&r.Seed, "seed", 0, "seed")
		return func(ctx context.Context) error { return r.Run(ctx) }
	},
	"build": func(f *flag.FlagSet) func(context.Context) error {
		b := healthy.Build{Self: os.Args[0]}
		f.IntVar(&b.Units, "units", 0, "translation units")
		f.IntVar(&b.Jobs, "jobs", 0, "units at once")
		f.Uint64Var(&b.Seed, "seed", 0, "seed")
		return func(ctx context.Context) error { return b.Run(ctx) }
	},
	"unit": func(f *flag.FlagSet) func(context.Context) error {
		seed := f.Uint64("seed", 0, "seed")
		return func(ctx context.Context) error { return healthy.Unit(ctx, *seed) }
	},
	"backup": func(f *flag.FlagSet) func(context.Context) error {
		seed, bytes := f.Uint64("seed", 0, "seed"), f.Int64("bytes", 0, "bytes to read")
		return func(ctx context.Context) error { return healthy.Backup(ctx, *seed, *bytes) }
	},
	"log": func(f *flag.FlagSet) func(context.Context) error {
		seed, rate := f.Uint64("seed", 0, "seed"), f.Float64("rate", 0, "bytes a second")
		rotate := f.Int64("rotate", 0, "bytes after which to rotate")
		return func(ctx context.Context) error { return healthy.Log(ctx, *seed, *rate, *rotate) }
	},
	"job": func(f *flag.FlagSet) func(context.Context) error {
		seed := f.Uint64("seed", 0, "seed")
		return func(ctx context.Context) error { return healthy.Job(ctx, *seed) }
	},
}

// run lives and has the recorder look on.
func run(f *flag.FlagSet) func(context.Context) error {
	profile := f.String("profile", "mixed", "one of "+strings.Join(healthy.Profiles(), ", "))
	seed := f.Uint64("seed", 1, "seed")
	duration := f.Duration("duration", 5*time.Minute, "how long to record")
	recorder := f.String("reflexctl", "", "reflexctl")
	output := f.String("output", "", "`file` to record into")
	return func(ctx context.Context) error {
		p, err := healthy.ByName(*profile)
		if err != nil {
			return err
		}
		life := healthy.Life{Profile: p, Seed: *seed, Self: os.Args[0], Recorder: []string{
			*recorder, "record", "--closer-look", "--duration", duration.String(), "--output", *output,
		}}
		return life.Run(ctx)
	}
}
