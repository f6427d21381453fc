// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"fmt"
	"strings"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

const barWidth = 40

var phaseNames = map[string]string{
	recording.PhasePrepare: "starting",
	recording.PhaseCalm:    "calm",
	recording.PhaseLeak:    "leak",
	recording.PhaseFinish:  "finishing",
}

var levelNames = [...]string{"normal", "watchfulness", "containment", "pressure", "isolation", "quarantine"}

// levelText names a level.
func levelText(level int) string {
	if level < 0 || level >= len(levelNames) {
		return fmt.Sprintf("level %d", level)
	}
	return fmt.Sprintf("level %d %s", level, levelNames[level])
}

// plain is the state in one line.
func (t *Timeline) plain() string {
	s := t.state
	line := fmt.Sprintf("%s  %-4s  payment %s", t.clock(), phaseNames[t.phase.Phase], t.memoryText())
	line += fmt.Sprintf("  %3d answers/s  neighbour %3d answers/s, p99 %.1f ms", s.PaymentAnswers, s.NeighbourAnswers, s.NeighbourP99)
	if s.Judged {
		line += fmt.Sprintf("  %s, D_M %.3g, limit %.3g", levelText(s.Level), s.Distance, s.Threshold)
	}
	return line
}

func (t *Timeline) memoryText() string {
	if !t.state.PaymentAlive {
		return "killed, gone     "
	}
	return fmt.Sprintf("%.2f of %.2f GiB", gib(t.state.PaymentBytes), gib(t.state.PaymentLimit))
}

// block is the state in a few lines, for a terminal.
func (t *Timeline) block() []string {
	s := t.state
	head := fmt.Sprintf("  %-10s %s", phaseNames[t.phase.Phase], t.progress())
	if t.phase.Length == 0 {
		return []string{head}
	}
	memory := t.paint.good(bar(share(s.PaymentBytes, s.PaymentLimit), barWidth))
	answers := t.paint.good(fmt.Sprintf("%3d answers/s", s.PaymentAnswers))
	switch {
	case !s.PaymentAlive:
		memory, answers = t.paint.bad(bar(0, barWidth)), t.paint.bad("  0 answers/s")
	case t.phase.Phase == recording.PhaseLeak && s.PaymentCeiling == 0:
		memory = t.paint.bad(bar(share(s.PaymentBytes, s.PaymentLimit), barWidth))
	}
	text := t.memoryText()
	if s.PaymentAlive && s.PaymentCeiling > 0 {
		text += fmt.Sprintf(", ceiling %.2f", gib(s.PaymentCeiling))
	}
	lines := []string{
		head,
		fmt.Sprintf("  payment    %s %s   %s", memory, answers, text),
		fmt.Sprintf("  neighbour  %s %3d answers/s   p99 %.1f ms", strings.Repeat(" ", barWidth), s.NeighbourAnswers, s.NeighbourP99),
	}
	if s.Judged {
		level := levelText(s.Level)
		if s.Level > 0 {
			level = t.paint.alarm(level)
		}
		lines = append(lines, fmt.Sprintf("  reflex     %s   D_M %.3g, limit %.3g", level, s.Distance, s.Threshold))
	}
	return lines
}

// progress shows how far the phase is.
func (t *Timeline) progress() string {
	if t.phase.Length == 0 {
		return "…"
	}
	elapsed := min(t.state.Elapsed, t.phase.Length)
	return fmt.Sprintf("%s %2.0f of %.0f s", bar(elapsed/t.phase.Length, barWidth), elapsed, t.phase.Length)
}

// bar draws a share of width in eighths of a character.
func bar(share float64, width int) string {
	share = min(max(share, 0), 1)
	eighths := int(share*float64(width)*8 + 0.5)
	full := eighths / 8
	b := strings.Repeat("█", full)
	if rest := eighths % 8; rest > 0 {
		b += string([]rune("▏▎▍▌▋▊▉")[rest-1])
		full++
	}
	return b + strings.Repeat("·", width-full)
}

func share(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func gib(b uint64) float64 { return float64(b) / (1 << 30) }

// palette colours text, or not.
type palette bool

func (p palette) wrap(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) bold(s string) string  { return p.wrap("1", s) }
func (p palette) good(s string) string  { return p.wrap("32", s) }
func (p palette) bad(s string) string   { return p.wrap("31", s) }
func (p palette) alarm(s string) string { return p.wrap("33;1", s) }

// Verdict formats one line of the acceptance.
func (t *Timeline) Verdict(ok bool, text string) {
	mark := t.paint.good("kept  ")
	if !ok {
		mark = t.paint.bad("BROKEN")
	}
	fmt.Fprintf(t.out, "  %s  %s\n", mark, text)
}
