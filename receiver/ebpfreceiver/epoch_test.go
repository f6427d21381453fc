// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// sums returns the first point of every sum, by metric, cgroups' after a slash.
func sums(t *testing.T, md pmetric.Metrics) map[string]pmetric.NumberDataPoint {
	t.Helper()
	points := map[string]pmetric.NumberDataPoint{}
	for i, rm := range md.ResourceMetrics().All() {
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			if m.Type() == pmetric.MetricTypeSum {
				points[m.Name()+map[bool]string{true: "/"}[i > 0]] = m.Sum().DataPoints().At(0)
			}
		}
	}
	return points
}

// Whatever is done to the clock, a counter begins before it is read, as long
// before as it has been counting, and its beginning moves only when the clock is
// set.
func TestStartsFollowAClockThatIsSet(t *testing.T) {
	k := &fakeKernel{}
	w := fakeWriter(k, nil)
	var stepped time.Duration
	var sequence uint64
	write := func() map[string]pmetric.NumberDataPoint {
		sequence++
		s := fakeSample(t, k, sequence)
		s.WallTime += int64(stepped)
		md := w.write(s, []int{2}, sweepMovers)
		points := sums(t, md)
		for name, p := range points {
			require.LessOrEqual(t, p.StartTimestamp(), p.Timestamp(), name)
			require.Equal(t, pcommon.Timestamp(s.WallTime), p.Timestamp(), name)
		}
		return points
	}
	age := func(p pmetric.NumberDataPoint) time.Duration {
		return time.Duration(p.Timestamp() - p.StartTimestamp())
	}
	const boot, since, cgroup = "system.cpu.busy.time", "system.process.forks", "cgroup.cpu.time/"
	first := write()
	assert.Zero(t, age(first[cgroup]))
	for _, c := range []struct {
		step  time.Duration
		moves bool
	}{
		{0, false},
		{-time.Hour, true}, // to before the sources were opened
		{500 * time.Millisecond, false},
		{-500 * time.Millisecond, false},
		{2 * time.Hour, true},
		{-10 * 365 * 24 * time.Hour, true},
	} {
		before := write()
		stepped += c.step
		after := write()
		for _, name := range []string{boot, since, cgroup} {
			moved := time.Duration(after[name].StartTimestamp()) - time.Duration(before[name].StartTimestamp())
			assert.Equal(t, map[bool]time.Duration{true: c.step}[c.moves], moved, "%s at a step of %v", name, c.step)
			if c.moves {
				assert.Equal(t, 100*time.Millisecond, age(after[name])-age(before[name]), "%s at a step of %v", name, c.step)
			}
		}
	}
}

func TestAStartIsNeverAfterItsPointNorBeforeTheEpoch(t *testing.T) {
	e := epoch(5)
	assert.Equal(t, pcommon.Timestamp(12), e.start(7, 20))
	assert.Equal(t, pcommon.Timestamp(11), e.start(7, 11), "a step too small to follow")
	assert.Equal(t, pcommon.Timestamp(0), epoch(-50).start(7, 11), "a clock set to before the epoch")
}
