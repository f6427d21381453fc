// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/episode"
)

// A record's Time is that of the tick which recorded it. For an action that is
// the tick after the guard's answer; the action itself lies between two
// instants of CLOCK_BOOTTIME, which boot, the wall clock at the zero of that
// clock, turns into times of day. A zero boot is unknown.

// interval returns the begin and the end of what r records; they are the same
// unless r is an action that wrote.
func interval(r *episode.Record, boot time.Time) (begin, end time.Time) {
	if r.Kind != episode.Action || r.Scheduled == 0 || boot.IsZero() {
		return r.Time.Add(-r.TickToKnob()), r.Time
	}
	begin = boot.Add(time.Duration(r.Scheduled))
	return begin, begin.Add(r.TickToKnob())
}
