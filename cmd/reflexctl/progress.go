// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/replay"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// redraw is how often a progress bar is drawn.
const redraw = 200 * time.Millisecond

// progress is a bar on a terminal.
type progress struct {
	to           io.Writer
	in           *replay.Input
	width        int
	began, drawn time.Time
}

// newProgress returns nil when to is no terminal.
func newProgress(to io.Writer, in *replay.Input) *progress {
	width := columns(to)
	if width == 0 {
		return nil
	}
	now := time.Now()
	return &progress{to: to, in: in, width: width, began: now, drawn: now}
}

// draw draws the bar after so many rows, not too often.
func (p *progress) draw(rows int) {
	now := time.Now()
	if now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	fmt.Fprint(p.to, "\r", p.text(rows, now.Sub(p.began)), "\x1b[K")
}

// text is the bar for a file whose size is known, and a count for any other.
func (p *progress) text(rows int, took time.Duration) string {
	count := fmt.Sprintf("%d rows", rows)
	if p.in.Size <= 0 {
		return count
	}
	done := min(float64(p.in.Position())/float64(p.in.Size), 1)
	left := ""
	if done > 0 {
		left = fmt.Sprintf(", %s left", words.Seconds(took.Seconds()*(1-done)/done))
	}
	return bar(p.width, done, count+left)
}

// bar shows which part is done, before text and as wide as a terminal allows.
func bar(width int, done float64, text string) string {
	text = fmt.Sprintf("%3.0f %%  %s", 100*done, text)
	room := min(width-len(text)-4, 40)
	if room < 5 {
		return text
	}
	full := int(done * float64(room))
	return "[" + strings.Repeat("█", full) + strings.Repeat("░", room-full) + "] " + text
}

// clear takes the bar away.
func (p *progress) clear() { fmt.Fprint(p.to, "\r\x1b[K") }

// columns is the width of a terminal; 0: it is none.
func columns(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if size.Col == 0 {
		return 80
	}
	return int(size.Col)
}

func isTerminal(w io.Writer) bool { return columns(w) > 0 }
