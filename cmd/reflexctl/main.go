// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

const (
	exitFailed  = 1 // the command could not do what it was asked to
	exitMissing = 3 // probe: something is missing
	// ordered, but nobody said that it is done
	exitUnconfirmed = 4
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	err := command().ExecuteContext(ctx)
	stop()
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errMissing):
		return exitMissing
	case errors.Is(err, errUnconfirmed):
		return exitUnconfirmed
	default:
		return exitFailed
	}
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "reflexctl",
		Short: "See what Reflex needs, does and did on this machine, and stop it",
		Long: `See what Reflex needs, does and did on this machine, and stop it.

What is held and why: status, leases, episodes, explain, journal, levels. To stop it: release
one workload or everything, or the kill-switch. quarantine cuts a workload, or the
node, off the network. These ask the reflex extension of a running collector and the guard; what
they order is in the journal. mirror tells systemd what is held. Everything else only reads: probe looks at this machine
and at the privileges that reflexctl itself was started with; record keeps what the
arc sees of this machine in a file, replay runs the engine over a recording, and dump
writes one as CSV.

Exit status: 0 success, 1 failure, 3 probe found something missing, 4 ordered but not
confirmed.`,
		SilenceUsage: true,
	}
	root.AddCommand(
		probeCommand(), statusCommand(), levelsCommand(), leasesCommand(), episodesCommand(), explainCommand(), journalCommand(),
		releaseCommand(), killSwitchCommand(), quarantineCommand(), mirrorCommand(),
		recordCommand(), replayCommand(), dumpCommand(), versionCommand(),
	)
	return root
}

// format is the value of --output: one of two words.
type format string

const (
	table  format = "table"
	asJSON format = "json"
)

var formats = []string{string(table), string(asJSON)}

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "format" }

func (f *format) Set(text string) error {
	if !slices.Contains(formats, text) {
		return fmt.Errorf("must be one of %s", strings.Join(formats, ", "))
	}
	*f = format(text)
	return nil
}

// outputFlag adds --output to a command.
func outputFlag(c *cobra.Command) *format {
	f := table
	c.Flags().VarP(&f, "output", "o", "table for people, json for programs")
	complete(c, "output", formats...)
	return &f
}

// complete lets the shell complete a flag from a list.
func complete(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag does not exist: a mistake in this program
	}
}
