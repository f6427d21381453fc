// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/guard"
)

// options are the flags that say where a guard acts and who may ask it to.
type options struct {
	socket     string
	uid        owner
	root       string
	protect    []string
	killSwitch string
	network    networkOptions
}

func (o *options) config(log *slog.Logger) guard.Config {
	return guard.Config{Root: o.root, KillSwitch: o.killSwitch, Protect: o.protect, Network: o.network.config(), Logger: log}
}

func main() {
	if err := frugal(); err != nil {
		fmt.Fprintln(os.Stderr, "Warning:", err) // it runs, and takes more memory
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func command() *cobra.Command {
	o := options{uid: owner(os.Geteuid())}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	root := &cobra.Command{
		Use:           "reflexguard",
		Short:         "Hold kernel knobs under leases that end by themselves",
		SilenceUsage:  true,
		SilenceErrors: false,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&o.socket, "socket", guard.DefaultSocket, "unix socket on which orders are taken")
	flags.Var(&o.uid, "uid", "user of the collector, by id or name: owns the socket and, with root, may give orders")
	flags.StringVar(&o.root, "cgroup-root", "", "cgroup v2 directory to act below (default: the machine's)")
	// Not a slice, which takes '' for no pattern and a comma, legal in a cgroup's
	// name, for the next one.
	flags.StringArrayVar(&o.protect, "protect", nil, "pattern of cgroups never to touch, a component (db-*) or a path (/batch/db-*); may be repeated")
	flags.StringVar(&o.killSwitch, "kill-switch", guard.DefaultKillSwitch, "file whose presence releases everything and refuses everything")
	o.network.flags(root)
	root.AddCommand(superviseCommand(&o, log), serveCommand(&o, log), statusCommand(&o), restoreCommand(&o, log), versionCommand())
	return root
}
