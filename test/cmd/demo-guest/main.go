// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo-guest is what the demonstration runs where the workload lives:
// one static program with a role for each process. `demo` starts it; people do
// not.
package main

import (
	"context"
	"flag"
	"os"
	"strings"

	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/scenario"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

func main() {
	command.Roles("demo-guest", map[string]func(context.Context, []string) error{
		"run": run, "service": workload.ServiceRole, "client": workload.ClientRole,
	})
}

// run plays the whole scenario and streams events to standard output.
func run(ctx context.Context, args []string) error {
	s := scenario.Default()
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&s.Base, "base", "/sys/fs/cgroup", "cgroup v2 `directory` below which to work")
	flags.StringVar(&s.Out, "out", "/out", "`directory` for the recording")
	flags.StringVar(&s.Collector, "collector", "", "otelcol-reflex")
	flags.StringVar(&s.Guard, "guard", "", "reflexguard")
	flags.DurationVar(&s.Calm, "calm", s.Calm, "length of the calm part")
	flags.DurationVar(&s.Leak, "leak", s.Leak, "length of the leak")
	flags.Uint64Var(&s.Seed, "seed", s.Seed, "seed of the schedule of requests")
	flags.Uint64Var(&s.Limit, "limit", s.Limit, "memory.max of the payment service in bytes")
	arms := flags.String("arms", strings.Join(s.Arms, ","), "arms to run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.Arms = strings.Split(*arms, ",")
	guest, err := os.Executable()
	if err != nil {
		return err
	}
	s.Guest = guest
	stream := recording.NewStream(os.Stdout)
	if err := scenario.Run(ctx, s, stream); err != nil {
		stream.Send(recording.Event{Kind: recording.EventError, Text: err.Error()})
		return err
	}
	return nil
}
