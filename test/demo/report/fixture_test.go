// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

const (
	second = int64(1e9)
	// The fixture's arms: calm from 100 s, leak from 160 s, end at 220 s of
	// CLOCK_BOOTTIME; the wall clock is one day ahead.
	calm, onset, end = 100 * second, 160 * second, 220 * second
	wall             = 86_400 * second
	limit            = uint64(2 << 30)
	resident         = uint64(1_310_000_000)
)

// recorded is the recording of a good run: the unprotected service dies after
// 16.7 s; Reflex is at level 1 after 0.4 s and holds a ceiling after 0.6 s.
func recorded(t testing.TB) *Input {
	t.Helper()
	in := &Input{
		Environment: recording.Environment{
			Where: "vm", Why: "cgroup v2 has no memory controller here", Kernel: "6.12.0-test",
			Architecture: "amd64", CPUs: 2, MemoryBytes: 4 << 30, Host: "2 CPUs, Linux 6.18",
		},
		Arms:    map[string]*recording.Arm{},
		Answers: map[string][]recording.Answer{},
		Story:   story(),
	}
	for _, name := range []string{recording.Without, recording.With} {
		in.Arms[name] = arm(name)
		in.Answers[name] = answers(in.Arms[name])
		require.NotEmpty(t, in.Answers[name])
	}
	return in
}

func arm(name string) *recording.Arm {
	a := &recording.Arm{
		Name: name, Seed: 2, Calm: calm, Onset: onset, End: end, OnsetWall: wall + onset,
		Limit: limit, Resident: resident, LeakRate: 50_000_000,
		RequestRate: 100, Work: 16 << 10, Wait: 0.05,
		Ceilings: []recording.Ceiling{{Time: calm - second, Value: recording.Unlimited}},
	}
	used := func(at int64) uint64 { return resident + uint64(max(0, at-onset)*50/1000) }
	a.Costs = map[string]recording.Cost{"payment.service": {CPUCalm: 0.2, CPULeak: 0.4, MemoryCalm: 1 << 30, MemoryLeak: 3 << 29}}
	if name == recording.Without {
		a.PaymentKilled, a.OOMKills = onset+16_700_000_000, 1
	} else {
		a.CeilingAfter = recording.Unlimited
		for i := range int64(594) {
			v := resident + 30_000_000 + uint64(i)*650_000
			a.Ceilings = append(a.Ceilings, recording.Ceiling{Time: onset + 600_000_000 + i*second/10, Value: v})
		}
		used = func(at int64) uint64 {
			return resident + uint64(min(max(0, at-onset)*50/1000, 30_000_000+max(0, at-onset)*65/10_000))
		}
	}
	for at := calm; at < end; at += second / 10 {
		s := recording.Sample{Time: at, Payment: used(at), Neighbour: 134_000_000}
		if a.PaymentKilled > 0 && at > a.PaymentKilled {
			s.Payment = 8192
		}
		a.Samples = append(a.Samples, s)
	}
	return a
}

// answers are a hundred a second to each service; the neighbour's take 3 ms to
// 4.98 ms, so that its p99 is 4.96 ms in every window.
func answers(a *recording.Arm) (all []recording.Answer) {
	for i := range int64(12_000) {
		due := calm + i*second/100
		latency := 3_000_000 + i%100*20_000
		dead := a.PaymentKilled > 0 && due >= a.PaymentKilled
		all = append(all,
			recording.Answer{Service: recording.Payment, Intended: due, Latency: latency, OK: !dead},
			recording.Answer{Service: recording.Neighbour, Intended: due, Latency: latency, OK: true})
	}
	return all
}

func story() *telemetry.Story {
	id := strings.Repeat("ab", 16)
	s := &telemetry.Story{
		Levels: []telemetry.LevelChange{
			{Time: wall + onset + 400_000_000, Level: 1, Name: "watchfulness", Reason: "D_M 41 is above its limit of 9", Episode: id},
			{Time: wall + onset + 590_000_000, Level: 2, Previous: 1, Name: "containment", Reason: "payment.service exhausts its memory in 16 s", Episode: id},
		},
		Actions: []telemetry.Action{
			{Time: wall + onset + 601_000_000, Name: "memory.high", Verdict: "granted", Cgroup: "/payment.service", Value: 1_340_000_000, Episode: id, TickToKnob: 0.0031, Reason: "grows by 50 MB/s"},
			{Time: wall + onset + 701_000_000, Name: "memory.high", Verdict: "held", Cgroup: "/payment.service", Value: 1_341_000_000, Episode: id},
		},
		Total:    telemetry.Counts{Logs: 20, Metrics: 4000, Spans: 5},
		Episodes: map[string]telemetry.Counts{id: {Logs: 14, Metrics: 60, Spans: 4}},
	}
	for at := calm; at < end; at += second / 2 {
		d := 2 + math.Sin(float64(at/second))
		if at > onset {
			d = 300
		}
		s.Scores = append(s.Scores, telemetry.Score{Time: wall + at, Distance: d, Limit: 9})
	}
	return s
}
