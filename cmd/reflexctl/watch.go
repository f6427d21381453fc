// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/words"
)

const (
	// toTop moves a terminal's cursor to its upper left corner, toEndOfLine and
	// toEndOfScreen clear what is left of what was there before (ECMA-48).
	toTop         = "\x1b[H"
	toEndOfLine   = "\x1b[K"
	toEndOfScreen = "\x1b[J"
	clearScreen   = "\x1b[2J"
)

// moment is one point of the extension's /history.
type moment struct {
	Level int      `json:"level"`
	Score *float64 `json:"score"`
	Limit *float64 `json:"limit"`
}

// watcher shows the status again and again: on a terminal in place, elsewhere one after
// the other.
type watcher struct {
	extension *client
	to        io.Writer
	columns   int // of the terminal; 0: it is none
	now       func() time.Time
}

// watch shows the status at every tick until ctx ends. A collector that is away is
// waited for.
func (w *watcher) watch(ctx context.Context, ticks <-chan time.Time) error {
	if w.columns > 0 {
		fmt.Fprint(w.to, clearScreen)
	}
	for {
		if err := w.show(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
	}
}

func (w *watcher) show(ctx context.Context) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s   (Ctrl-C ends)\n\n", w.now().Local().Format("2006-01-02 15:04:05"))
	var s status
	err := w.extension.get(ctx, "status", nil, &s)
	switch {
	case ctx.Err() != nil:
		return nil //nolint:nilerr // interrupted
	case err != nil:
		fmt.Fprintln(&text, words.Printable(err.Error()))
	default:
		var history []moment
		if w.extension.get(ctx, "history", nil, &history) == nil && len(history) > 0 { // an older extension has none
			fmt.Fprintf(&text, "%s\n\n", sparkline(history, max(20, min(w.columns-1, 100))))
		}
		if err := s.table(&text); err != nil {
			return err
		}
	}
	out := text.String()
	if w.columns > 0 {
		out = toTop + strings.ReplaceAll(out, "\n", toEndOfLine+"\n") + toEndOfScreen
	} else {
		out += "\n"
	}
	_, err = io.WriteString(w.to, out)
	return err
}

// sparkline draws the last scores, as many as there are columns for, each as high as
// the highest of its time; a full block is ten times the limit and more.
func sparkline(history []moment, columns int) string {
	const blocks = "▁▂▃▄▅▆▇█"
	each := (len(history) + columns - 1) / columns
	var b strings.Builder
	for at := 0; at < len(history); at += each {
		highest, known := 0.0, false
		for _, m := range history[at:min(at+each, len(history))] {
			if m.Score != nil && m.Limit != nil && *m.Limit > 0 {
				highest, known = max(highest, *m.Score / *m.Limit), true
			}
		}
		if !known {
			b.WriteByte(' ')
			continue
		}
		part := math.Log1p(highest) / math.Log1p(10)
		b.WriteRune([]rune(blocks)[min(7, int(8*max(part, 0)))])
	}
	return b.String()
}
