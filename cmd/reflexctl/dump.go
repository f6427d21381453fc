// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/replay"
)

func dumpCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dump FILE",
		Short: "Write a recording as CSV",
		Long: `Write what reflexctl record recorded as CSV, for other programs.

Every tick becomes one row: the time (RFC 3339) and every column of the node; or,
with --cgroups, one row for each cgroup: time, id, parent, path, and its columns.
Times are seconds, sizes bytes; counters are totals, as they were read. An empty
cell is a value that could not be read, "inf" the absence of a limit.

"-" is standard input. Rows go to standard output or to --output; a file appears
under its name only when it is complete.`,
		Example: `  reflexctl dump host.rfx --output host.csv
  reflexctl dump host.rfx --cgroups | awk -F, '$4 ~ /payment/'`,
		Args: cobra.ExactArgs(1),
	}
	var (
		output  string
		cgroups bool
	)
	c.Flags().StringVarP(&output, "output", "o", "-", "file to write rows to, compressed if its name ends in .gz")
	c.Flags().BoolVar(&cgroups, "cgroups", false, "the cgroups instead of the node")
	c.RunE = func(c *cobra.Command, args []string) error {
		in, err := replay.Open(c.Context(), args[0], c.InOrStdin())
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := replay.Create(output, c.OutOrStdout())
		if err != nil {
			return err
		}
		defer out.Abort()
		cut, err := replay.Dump(in, out, cgroups)
		if err != nil {
			return err
		}
		if cut != nil {
			fmt.Fprintln(c.ErrOrStderr(), cut)
		}
		return out.Commit()
	}
	return c
}
