// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/otelcol-reflex/reflex/internal/words"
)

// writer aligns lines at their tabs and keeps the first error.
type writer struct {
	tabs *tabwriter.Writer
	err  error
}

func newWriter(to io.Writer) *writer {
	return &writer{tabs: tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)}
}

func (w *writer) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintln(w.tabs, words.Printable(fmt.Sprintf(format, args...)))
	}
}

func (w *writer) flush() error {
	if w.err != nil {
		return w.err
	}
	return w.tabs.Flush()
}
