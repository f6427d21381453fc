// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// ServiceRole is a [Service] as a program: args are its flags. It answers until
// ctx ends.
func ServiceRole(ctx context.Context, args []string) error {
	var s Service
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.StringVar(&s.Listen, "listen", "", "`address` and port, a port of loopback by default")
	flags.IntVar(&s.Resident, "resident", 0, "working set in bytes")
	flags.IntVar(&s.Work, "work", 0, "bytes of the working set that a request reads")
	flags.DurationVar(&s.Wait, "wait", 0, "how long a request then waits")
	flags.IntVar(&s.LeakRate, "leak-rate", 0, "leak in bytes a second, once ordered")
	flags.IntVar(&s.LeakRequest, "leak-request", 0, "leak in bytes a request, once ordered, instead")
	flags.IntVar(&s.Churn, "churn", 0, "bytes that a request takes and gives back")
	flags.IntVar(&s.Threads, "threads", 1, "requests that memory can hold up at once")
	flags.StringVar(&s.OnsetFile, "onset-file", "", "`file` that receives the moment the leak starts")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return s.Run(ctx, os.Stdin, os.Stdout)
}

// ClientRole is a [Client] as a program: args are its flags. It asks until ctx
// ends, tells each second on standard output, and leaves its answers in a file.
func ClientRole(ctx context.Context, args []string) error {
	var c Client
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	payment := flags.String("payment", "", "`address` of the payment service, \"\" for none")
	neighbour := flags.String("neighbour", "", "`address` of the neighbour, \"\" for none")
	var targets []Target
	flags.Func("target", "one more service to ask, as `name=address`; repeatable", func(text string) error {
		name, address, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("want name=address")
		}
		targets = append(targets, Target{Service: name, Address: address})
		return nil
	})
	flags.IntVar(&c.Connections, "connections", 64, "requests under way at once to a service")
	flags.IntVar(&c.Queue, "queue", 4096, "requests that may wait for a connection")
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
	for _, t := range []Target{{recording.Payment, *payment}, {recording.Neighbour, *neighbour}} {
		if t.Address != "" {
			targets = append(targets, t)
		}
	}
	c.Run(ctx, targets, tally.Record)

	f, err := os.Create(*answers)
	if err != nil {
		return err
	}
	if err := recording.WriteAnswers(f, tally.Answers()); err != nil {
		return err
	}
	return f.Close()
}
