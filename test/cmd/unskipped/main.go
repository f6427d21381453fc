// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command unskipped reads go test -json and writes what go test would have
// written. It fails if a test was skipped that no guest runs instead.
package main

import (
	"fmt"
	"os"

	"github.com/otelcol-reflex/reflex/test/skips"
)

func main() {
	if err := skips.Filter(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "unskipped:", err)
		os.Exit(1)
	}
}
