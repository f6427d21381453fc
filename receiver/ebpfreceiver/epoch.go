// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// clockStep is from how far the time of day must have moved against
// CLOCK_BOOTTIME to have been set. Slewing (adjtime, NTP) moves both alike; what
// is less than this is the time that passed between reading the one and the other.
const clockStep = int64(time.Second)

// epoch is the time of day at the zero of CLOCK_BOOTTIME, ns since the Unix
// epoch. Start timestamps are instants of CLOCK_BOOTTIME expressed by it. It stays
// as it is until somebody sets the clock, because a start that moves tells a
// consumer that the counter began anew; and it moves then, because otherwise
// counters would begin in the future, or at a time that by the new clock was
// another.
type epoch int64

// follow makes the epoch that of a sample if the clock was set since.
func (e *epoch) follow(s *arc.Sample) {
	now := epoch(s.WallTime - s.Taken)
	if moved := int64(now - *e); moved >= clockStep || moved <= -clockStep {
		*e = now
	}
}

// start is the start timestamp of a point at the time of day now, which counts
// since instant (CLOCK_BOOTTIME, ns). It is never after now.
func (e epoch) start(instant, now int64) pcommon.Timestamp {
	return pcommon.Timestamp(max(min(int64(e)+instant, now), 0))
}
