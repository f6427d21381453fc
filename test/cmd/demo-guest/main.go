// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo-guest is what the demonstration runs where the workload lives:
// one static program with a role for each process. `demo` starts it; people do
// not.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/scenario"
	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

var roles = map[string]func(context.Context, []string) error{
	"run":     run,
	"service": service,
	"client":  client,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: demo-guest run|service|client [flags]")
		os.Exit(2)
	}
	if err := roles[os.Args[1]](ctx, os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "demo-guest %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
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

// service answers requests until told to end.
func service(ctx context.Context, args []string) error {
	var s workload.Service
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.IntVar(&s.Resident, "resident", 0, "working set in bytes")
	flags.IntVar(&s.Work, "work", 0, "bytes of the working set that a request reads")
	flags.DurationVar(&s.Wait, "wait", 0, "how long a request then waits")
	flags.IntVar(&s.LeakRate, "leak-rate", 0, "leak in bytes a second, once ordered")
	flags.StringVar(&s.OnsetFile, "onset-file", "", "`file` that receives the moment the leak starts")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return s.Run(ctx, os.Stdin, os.Stdout)
}

// client asks until told to end, tells each second on standard output, and
// leaves its answers in a file.
func client(ctx context.Context, args []string) error {
	c := workload.Client{Connections: 64}
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	payment := flags.String("payment", "", "`address` of the payment service")
	neighbour := flags.String("neighbour", "", "`address` of the neighbour")
	answers := flags.String("answers", "", "`file` that receives the answers")
	flags.Float64Var(&c.Rate, "rate", 100, "requests a second to each service")
	flags.DurationVar(&c.Deadline, "deadline", time.Second, "longest wait for an answer")
	flags.Uint64Var(&c.Seed, "seed", 0, "seed of the schedule")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1) // a client that wakes threads of its own measures them
	tally := workload.NewTally(1 << 16)
	go func() {
		out := json.NewEncoder(os.Stdout)
		for range time.Tick(time.Second) {
			_ = out.Encode(tally.Second())
		}
	}()
	c.Run(ctx, []workload.Target{
		{Service: recording.Payment, Address: *payment},
		{Service: recording.Neighbour, Address: *neighbour},
	}, tally.Record)

	f, err := os.Create(*answers)
	if err != nil {
		return err
	}
	if err := recording.WriteAnswers(f, tally.Answers()); err != nil {
		return err
	}
	return f.Close()
}
