// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command eval replays labelled recordings through the engine of Reflex and its
// challengers, prints a table and writes report.json.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "eval:", err)
		os.Exit(1)
	}
}
