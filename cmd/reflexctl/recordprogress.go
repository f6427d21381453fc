// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/recorder"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// recordProgress is a line on a terminal while ticks are recorded.
type recordProgress struct {
	to       io.Writer
	width    int
	duration time.Duration // 0: nobody knows
	drawn    time.Time
}

// newRecordProgress says what is missing, and returns nil when nobody looks at a
// terminal.
func newRecordProgress(c *cobra.Command, o *recordOptions, src *sources.Sources) *recordProgress {
	if o.quiet {
		return nil
	}
	to := c.ErrOrStderr()
	warn(to, src.Missing)
	width := columns(to)
	if width == 0 {
		return nil
	}
	return &recordProgress{to: to, width: width, duration: o.duration}
}

// draw draws the line, not too often.
func (p *recordProgress) draw(s *recorder.Summary) {
	now := time.Now()
	if now.Sub(p.drawn) < redraw {
		return
	}
	p.drawn = now
	fmt.Fprint(p.to, "\r", p.text(s), "\x1b[K")
}

// text is a bar where it is known when the recording ends, and a count elsewhere.
func (p *recordProgress) text(s *recorder.Summary) string {
	count := fmt.Sprintf("%d ticks, %d cgroups, %s", s.Ticks, s.Cgroups, words.Bytes(float64(s.Size)))
	if p.duration <= 0 {
		return count
	}
	done := min(s.Span.Seconds()/p.duration.Seconds(), 1)
	return bar(p.width, done, fmt.Sprintf("%s, %s left", count, words.Seconds((p.duration-s.Span).Seconds())))
}

// clear takes the line away.
func (p *recordProgress) clear() { fmt.Fprint(p.to, "\r\x1b[K") }
