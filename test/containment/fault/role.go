// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

// Roles are the programs of this package, by name.
var Roles = map[string]func(ctx context.Context, args []string) error{
	"leak": leak, "grow": grow, "thrash": thrash,
	"spin": spin, "fork": fork, "build": build, "compile": compile,
	"storm": storm, "cache": cache, "read": read,
	"flood": flood, "sink": sink, "deluge": deluge, "elsewhere": elsewhere,
	"timer": timer,
}

// parse reads a role's flags.
func parse(name string, args []string, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	define(flags)
	return flags.Parse(args)
}

// await says that the role is ready and waits to be told to begin.
func await() error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil && err != io.EOF {
		return fmt.Errorf("wait to begin: %w", err)
	}
	return nil
}

// began tells the onset, which is now.
func began() { fmt.Printf("onset %d\n", workload.Now()) }

// bounded ends after span, or with ctx.
func bounded(ctx context.Context, span time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, span)
}

// stay is the rest of a role's life.
func stay(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
