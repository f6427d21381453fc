// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package command is what the main functions of this module's commands have in
// common.
package command

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// Main runs a command until it ends or is told to. The exit code is 0 if it passed,
// 1 if not, and 2 if it could not be run.
func Main(name string, run func(ctx context.Context, args []string) (passed bool, err error)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	passed, err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(2)
	case !passed:
		os.Exit(1)
	}
}

// Roles runs the role that the first argument names: one program for all the
// processes of a machine. The exit code is 1 if it fails, 2 if there is no such role.
func Roles(name string, roles map[string]func(ctx context.Context, args []string) error) {
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fmt.Fprintf(os.Stderr, "usage: %s %s [flags]\n", name, strings.Join(slices.Sorted(maps.Keys(roles)), "|"))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := roles[os.Args[1]](ctx, os.Args[2:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s %s: %v\n", name, os.Args[1], err)
		os.Exit(1)
	}
}
