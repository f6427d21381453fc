// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"strings"

	"github.com/otelcol-reflex/reflex/test/containment"
)

// ear takes in what one machine tells.
type ear struct {
	say     func(format string, args ...any)
	trials  []containment.Trial
	ticks   []containment.Ticks
	notices []string // by the machine's keeper: that it was booted again
	failure string
	last    string // the last line that was no event
}

func (e *ear) line(line []byte) {
	event, ok := containment.ParseEvent(line)
	if !ok {
		text := strings.TrimSpace(string(line))
		if text == "" {
			return
		}
		if e.last = text; strings.HasPrefix(text, "vmtest: ") {
			e.say("%s", text)
			if strings.Contains(text, "faulted") {
				e.notices = append(e.notices, text)
			}
		}
		return
	}
	switch event.Kind {
	case containment.EventStart: // again, after a fault of the emulator
		e.trials, e.ticks, e.failure = nil, nil, ""
	case containment.EventNote:
		e.say("%s", event.Text)
	case containment.EventTrial:
		e.trials = append(e.trials, *event.Trial)
	case containment.EventTicks:
		e.ticks = append(e.ticks, *event.Ticks)
	case containment.EventError:
		e.failure = event.Text
	}
}
