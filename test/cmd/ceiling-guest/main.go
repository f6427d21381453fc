// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command ceiling-guest is what the comparison of the moving ceiling runs in its
// virtual machine: one static program with a role for each process. `ceiling` starts
// it; people do not.
package main

import (
	"context"
	"flag"
	"os"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/ceiling/guest"
	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

func main() {
	command.Roles("ceiling-guest", map[string]func(context.Context, []string) error{
		"run": run, "service": workload.ServiceRole, "client": workload.ClientRole,
	})
}

// run plays the arms and streams events to standard output.
func run(ctx context.Context, args []string) (err error) {
	s := guest.Settings{Load: ceiling.DefaultLoad()}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&s.Base, "base", "/sys/fs/cgroup", "root of the cgroup v2 `hierarchy`")
	flags.StringVar(&s.Out, "out", "/out", "`directory` for what comes back")
	flags.StringVar(&s.Collector, "collector", "", "otelcol-reflex")
	flags.StringVar(&s.Guard, "guard", "", "reflexguard")
	flags.DurationVar(&s.Calm, "calm", 45*time.Second, "length of the calm before the leaks")
	flags.DurationVar(&s.Stagger, "stagger", 15*time.Second, "time between two leaks")
	flags.Uint64Var(&s.Seed, "seed", 2, "seed of the schedule of requests")
	arms := flags.String("arms", "", "comma-separated names")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if s.Arms, err = ceiling.Select(strings.FieldsFunc(*arms, func(r rune) bool { return r == ',' })); err != nil {
		return err
	}
	if s.Self, err = os.Executable(); err != nil {
		return err
	}
	stream := recording.NewStream(os.Stdout)
	if err := guest.Run(ctx, s, stream); err != nil {
		stream.Send(recording.Event{Kind: recording.EventError, Text: err.Error()})
		return err
	}
	return nil
}
