// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"runtime"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// ServiceRole is a [Service] as a program: args are its flags. It answers until
// ctx ends.
func ServiceRole(ctx context.Context, args []string) error {
	var s Service
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

// ClientRole is a [Client] as a program: args are its flags. It asks until ctx
// ends, tells each second on standard output, and leaves its answers in a file.
func ClientRole(ctx context.Context, args []string) error {
	c := Client{Connections: 64}
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	payment := flags.String("payment", "", "`address` of the payment service, \"\" for none")
	neighbour := flags.String("neighbour", "", "`address` of the neighbour")
	answers := flags.String("answers", "", "`file` that receives the answers")
	flags.Float64Var(&c.Rate, "rate", 100, "requests a second to each service")
	flags.DurationVar(&c.Deadline, "deadline", time.Second, "longest wait for an answer")
	flags.Uint64Var(&c.Seed, "seed", 0, "seed of the schedule")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1) // a client that wakes threads of its own measures them
	tally := NewTally(1 << 16)
	go func() {
		out := json.NewEncoder(os.Stdout)
		for range time.Tick(time.Second) {
			_ = out.Encode(tally.Second())
		}
	}()
	var targets []Target
	if *payment != "" {
		targets = append(targets, Target{Service: recording.Payment, Address: *payment})
	}
	c.Run(ctx, append(targets, Target{Service: recording.Neighbour, Address: *neighbour}), tally.Record)

	f, err := os.Create(*answers)
	if err != nil {
		return err
	}
	if err := recording.WriteAnswers(f, tally.Answers()); err != nil {
		return err
	}
	return f.Close()
}
