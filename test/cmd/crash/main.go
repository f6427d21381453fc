// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command crash kills the parts of Reflex in a virtual machine and reports
// whether every knob came back in time. Its exit code is 1 if one did not, 2 if
// that could not be found out. Its other roles, drive, collector, tenant and
// sleep, are for itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/containment/crash"
)

var roles = map[string]func(context.Context, []string) error{
	"run": run, "drive": drive, "collector": collector, "tenant": tenant, "sleep": sleep,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	role, args := "run", os.Args[1:]
	if len(args) > 0 && roles[args[0]] != nil {
		role, args = args[0], args[1:]
	}
	err := roles[role](ctx, args)
	stop()
	switch {
	case errors.Is(err, errViolated):
		os.Exit(1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "crash %s: %v\n", role, err)
		os.Exit(2)
	}
}

var errViolated = errors.New("a promise was broken")

// run is what people and make start.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("crash", flag.ContinueOnError)
	v := crash.VM{Output: os.Stdout}
	flags.IntVar(&v.Kills, "kills", crash.Whole, "how many processes to kill at least")
	flags.Uint64Var(&v.Seed, "seed", 1, "seed of order and moments")
	flags.StringVar(&v.Kernel, "kernel", "6.12", "kernel of the virtual machine")
	revision := flags.String("revision", "unknown", "what is tested, for the record")
	output := flags.String("output", "../dist/containment", "`directory` for "+crash.File)
	simulated := flags.String("simulated", "", "`file` with the result of the simulated steps, to be put into the report")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := v.Run(ctx, filepath.Join(*output, "crash"))
	if err != nil {
		return err
	}
	r.Revision = *revision
	if *simulated != "" {
		if err := r.AddSimulated(*simulated); err != nil {
			return err
		}
	}
	if err := r.Write(*output); err != nil {
		return err
	}
	r.Print(os.Stdout)
	fmt.Println("Report:", filepath.Join(*output, crash.File))
	if r.Total() > 0 {
		return errViolated
	}
	return nil
}

// drive kills, in the guest.
func drive(ctx context.Context, args []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("drive", flag.ContinueOnError)
	o := crash.Options{Program: []string{program}, Say: func(format string, args ...any) { fmt.Printf(format+"\n", args...) }}
	flags.StringVar(&o.Root, "root", "", "cgroup v2 `directory`")
	flags.StringVar(&o.Guard, "guard", "", "reflexguard built with the tag faultpoints")
	flags.StringVar(&o.Dir, "dir", "", "`directory` of the socket")
	flags.DurationVar(&o.TTL, "ttl", time.Second, "of the leases")
	flags.IntVar(&o.Kills, "kills", 40, "how many processes to kill at least")
	flags.Uint64Var(&o.Seed, "seed", 1, "seed of order and moments")
	out := flags.String("out", "", "`directory` for the report")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := crash.Drive(ctx, o)
	if log, failed := os.ReadFile(filepath.Join(o.Dir, "guard.log")); failed == nil {
		_ = os.WriteFile(filepath.Join(*out, "guard.log"), log, 0o644)
	}
	if err != nil {
		return err
	}
	return r.Write(*out)
}

func collector(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("collector", flag.ContinueOnError)
	var c crash.Collector
	flags.StringVar(&c.Socket, "socket", "", "of the guard")
	flags.Uint64Var(&c.Cgroup, "cgroup", 0, "id of the target")
	flags.StringVar(&c.Sent, "sent", "", "`file` for the time of the last order")
	flags.DurationVar(&c.TTL, "ttl", 0, "of the lease")
	flags.DurationVar(&c.For, "for", 0, "how long to renew")
	flags.BoolVar(&c.Rise, "rise", false, "have the ceiling rise")
	flags.BoolVar(&c.Release, "release", false, "release in the end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return c.Run(ctx)
}

func tenant(_ context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: crash tenant DIRECTORY")
	}
	return crash.Tenant(args[0])
}

// sleep is there until it is killed, with a few MiB.
func sleep(ctx context.Context, _ []string) error {
	<-ctx.Done()
	return nil
}
