// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// BenchmarkHold moves a held ceiling on a fake cgroup: the last stretch of the
// arc. It reports the slowest hundredth.
func BenchmarkHold(b *testing.B) {
	m := newMachine(b)
	id := m.cgroup(b, "a")
	benchmarkHold(b, m, m.guard(b), id)
}

// BenchmarkHoldOverTheSocket is the same through Serve and Dial.
func BenchmarkHoldOverTheSocket(b *testing.B) {
	m := newMachine(b)
	id := m.cgroup(b, "a")
	socket := socketPath(b)
	serving(b, m.guard(b), socket)
	c := Dial(socket)
	defer c.Close()
	benchmarkHold(b, m, c, id)
}

func benchmarkHold(b *testing.B, m *machine, to arc.Actuator, id uint64) {
	b.Helper()
	o, out := hold(id, 130*mib), arc.Outcome{}
	require.NoError(b, to.Act(context.Background(), o, &out))
	var took []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		m.advance(second / 100)
		o.Parameter += 4096
		start := time.Now()
		err := to.Act(context.Background(), o, &out)
		took = append(took, time.Since(start))
		if err != nil || out.Verdict != arc.VerdictHeld {
			b.Fatal(err, out)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkGrant is a whole lease: checks, record, knob, and back.
func BenchmarkGrant(b *testing.B) {
	m := newMachine(b)
	m.change = func(c *Config) { c.GrantsPerMinute = 1 << 20 }
	id := m.cgroup(b, "a")
	g := m.guard(b)
	o, back, out := hold(id, 130*mib), releaseOf(id), arc.Outcome{}
	b.ReportAllocs()
	for b.Loop() {
		m.advance(second)
		if g.Act(context.Background(), o, &out); out.Verdict != arc.VerdictGranted {
			b.Fatal(out)
		}
		if g.Act(context.Background(), back, &out); out.Verdict != arc.VerdictReleased {
			b.Fatal(out)
		}
	}
}
