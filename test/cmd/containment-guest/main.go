// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command containment-guest is what the containment suite runs in its virtual
// machine: one static program with a role for each process. `containment` starts
// it; people do not.
package main

import (
	"context"
	"flag"
	"maps"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/cmd/internal/command"
	"github.com/otelcol-reflex/reflex/test/containment"
	"github.com/otelcol-reflex/reflex/test/containment/fault"
	"github.com/otelcol-reflex/reflex/test/containment/guest"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

// A role that enters a network namespace does so with the thread it runs on.
func init() { runtime.LockOSThread() }

func main() {
	roles := map[string]func(context.Context, []string) error{
		"run": run, "service": workload.ServiceRole, "client": workload.ClientRole,
	}
	maps.Copy(roles, fault.Roles)
	command.Roles("containment-guest", roles)
}

// run plays scenarios and streams events to standard output.
func run(ctx context.Context, args []string) (err error) {
	var s guest.Settings
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&s.Base, "base", "/sys/fs/cgroup", "root of the cgroup v2 `hierarchy`")
	flags.StringVar(&s.Out, "out", "/out", "`directory` for what comes back")
	flags.StringVar(&s.Collector, "collector", "", "otelcol-reflex")
	flags.StringVar(&s.Reflexguard, "reflexguard", "", "reflexguard")
	flags.StringVar(&s.Guard, "guard", containment.Separate, "separate or embedded")
	flags.DurationVar(&s.Learn, "learn", time.Minute, "how long Reflex learns the calm")
	flags.BoolVar(&s.Ticks, "ticks", false, "measure tick to knob")
	flags.DurationVar(&s.TicksFor, "ticks-for", 30*time.Second, "length of a measurement of tick to knob")
	flags.Uint64Var(&s.Seed, "seed", 1, "seed of the schedule of requests")
	only := flags.String("scenarios", "", "comma-separated names, \"\" for none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only != "" {
		if s.Scenarios, err = containment.Select(containment.Scenarios, strings.Split(*only, ",")); err != nil {
			return err
		}
	}
	if s.Self, err = os.Executable(); err != nil {
		return err
	}
	stream := containment.NewStream(os.Stdout)
	if err := guest.Run(ctx, s, stream); err != nil {
		stream.Send(containment.Event{Kind: containment.EventError, Text: err.Error()})
		return err
	}
	return nil
}
