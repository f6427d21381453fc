// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// plainEvery is the time between two plain lines, in seconds of an arm's phase.
const plainEvery = 5

// Timeline shows events.
type Timeline struct {
	out   io.Writer
	live  bool // lines are kept up to date in place
	paint palette

	arms     []string
	state    recording.Event // the newest tick
	arm      int             // index into arms
	phase    recording.Event
	drawn    int // lines of the block on the screen
	nextLine float64
}

// New returns a timeline for arms on out, which is live if out is a terminal.
func New(out *os.File, arms []string) *Timeline {
	_, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	live := err == nil && os.Getenv("TERM") != "dumb"
	return newTimeline(out, live, live && os.Getenv("NO_COLOR") == "", arms)
}

func newTimeline(out io.Writer, live, colour bool, arms []string) *Timeline {
	return &Timeline{out: out, live: live, paint: palette(colour), arms: arms}
}

// Event shows e.
func (t *Timeline) Event(e recording.Event) {
	for i, name := range t.arms {
		if e.Arm == name {
			t.arm = i
		}
	}
	switch e.Kind {
	case recording.EventPhase:
		t.enter(e)
	case recording.EventTick:
		t.state = e
		t.tick()
	case recording.EventNote:
		t.Say("%s  %s", t.clock(), e.Text)
	}
}

// enter begins a phase.
func (t *Timeline) enter(e recording.Event) {
	t.phase, t.nextLine = e, 0
	t.state.Elapsed = 0
	if e.Phase == recording.PhasePrepare {
		t.state = recording.Event{}
		t.Say("%s", t.paint.bold(fmt.Sprintf("Arm %d of %d: %s Reflex", t.arm+1, len(t.arms), t.arms[t.arm])))
	}
	if e.Phase == recording.PhaseLeak {
		t.Say("%s  the leak begins", t.clock())
	}
	t.redraw()
}

func (t *Timeline) tick() {
	if t.live {
		t.redraw()
		return
	}
	if t.state.Elapsed >= t.nextLine {
		fmt.Fprintln(t.out, t.plain())
		t.nextLine = t.state.Elapsed - mod(t.state.Elapsed, plainEvery) + plainEvery
	}
}

func mod(a float64, b int) float64 { return a - float64(int(a)/b*b) }

// Say prints a line that stays.
func (t *Timeline) Say(format string, args ...any) {
	t.erase()
	fmt.Fprintf(t.out, format+"\n", args...)
	t.redraw()
}

// Close leaves the screen as it is meant to stay.
func (t *Timeline) Close() {
	t.erase()
	t.phase = recording.Event{}
}

func (t *Timeline) erase() {
	if t.drawn > 0 {
		fmt.Fprintf(t.out, "\x1b[%dA\x1b[J", t.drawn)
		t.drawn = 0
	}
}

func (t *Timeline) redraw() {
	if !t.live || t.phase.Kind == "" {
		return
	}
	t.erase()
	lines := t.block()
	fmt.Fprint(t.out, strings.Join(lines, "\n")+"\n")
	t.drawn = len(lines)
}

// clock is the time from the onset as the timeline writes it.
func (t *Timeline) clock() string {
	switch t.phase.Phase {
	case recording.PhaseCalm:
		return fmt.Sprintf("%+4.0f s", t.state.Elapsed-t.phase.Length)
	case recording.PhaseLeak:
		return fmt.Sprintf("%+4.0f s", t.state.Elapsed)
	}
	return "      "
}
