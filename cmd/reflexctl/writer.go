// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
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
		_, w.err = fmt.Fprintln(w.tabs, printable(fmt.Sprintf(format, args...)))
	}
}

func (w *writer) flush() error {
	if w.err != nil {
		return w.err
	}
	return w.tabs.Flush()
}

// printable keeps what a workload chose, the name of a cgroup above all, from
// steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return '�'
		}
		return r
	}, text)
}

// size writes a number of bytes for people.
func size(n uint64) string {
	if n >= arc.Unlimited {
		return "max"
	}
	return sizeOf(float64(n))
}

func sizeOf(f float64) string {
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if f < 1024 && f > -1024 {
			return fmt.Sprintf("%.4g %s", f, unit)
		}
		f /= 1024
	}
	return fmt.Sprintf("%.4g TiB", f)
}

// duration writes seconds for people.
func duration(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d > -time.Second && d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
