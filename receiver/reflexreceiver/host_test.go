// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexreceiver

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/receiver/reflexreceiver/internal/metadata"
)

// testHost is a collector with the extensions a test gives it.
type testHost map[component.ID]component.Component

func (h testHost) GetExtensions() map[component.ID]component.Component { return h }

// keeper is an extension that keeps a journal.
type keeper struct {
	component.StartFunc
	component.ShutdownFunc
	journal *episode.Journal
}

func (k keeper) Journal() *episode.Journal { return k.journal }

func (k keeper) State() episode.State {
	return episode.State{
		Leases:    []episode.Leases{{Action: "memory.high", Count: 1}, {Action: "cpu.weight", Observed: true, Count: 2}},
		Displaced: k.journal.Dropped(), FileDropped: 1, FileMissed: 2, Unreadable: 3, OrdersDropped: 4,
	}
}

// idle is an extension that keeps none.
type idle struct {
	component.StartFunc
	component.ShutdownFunc
}

// newTestHost returns a host whose journal holds one episode.
func newTestHost(tb testing.TB) component.Host {
	tb.Helper()
	j := episode.NewJournal(64)
	for _, r := range story() {
		j.Append(r)
	}
	return hostOf(j)
}

func hostOf(j *episode.Journal) testHost {
	return testHost{component.MustNewID("reflex"): keeper{journal: j}}
}

// The moments of the story, from the tick that opened it.
var began = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

const tick = int64(1e12) // CLOCK_BOOTTIME of that tick

func at(d time.Duration) time.Time { return began.Add(d) }

var theEpisode = episode.ID{0xab, 15: 0x01}

// story is one episode: a leak is noticed, contained, renewed, one order is
// refused and one fails, and the end.
func story() []episode.Record {
	judgement := arc.Judgement{
		Ready: true, Anomalous: true, Distance: 9.5, Score: 9.5, Limit: 4, Velocity: 2, Acceleration: 0.5, NumContributions: 2,
	}
	judgement.Contributions[0] = arc.Contribution{Dimension: "system.memory.used", Share: 80, Value: 5e8, Usual: 1e8}
	judgement.Contributions[1] = arc.Contribution{Dimension: "system.paging.faults", Share: 10, Value: 12000, Usual: 300}
	culprit := episode.Cgroup{
		ID:   7712,
		Path: "/kubepods.slice/kubepods-pod0a1b2c3d_0001_0002_0003_0a0b0c0d0e0f.slice/cri-containerd-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff.scope",
	}
	harm := episode.Harm{Kind: "memory.exhaustion", Available: 100 << 20, Limit: 256 << 20, Growth: 50e6, Exhaustion: 2 * time.Second}
	hold := arc.Order{Cgroup: culprit.ID, Action: arc.ActionMemoryHigh, Parameter: 160 << 20, TTL: 15e9, Generation: 1}
	release := hold
	release.Verb = arc.Release

	base := func(kind episode.Kind, after time.Duration, level, previous int, reason string) episode.Record {
		return episode.Record{
			Kind: kind, Time: at(after), Episode: theEpisode, Source: "ebpf", Sequence: 42 + uint64(after/(100*time.Millisecond)),
			Level: level, Previous: previous, Reason: reason, Onset: tick - 1e8, Scheduled: tick + int64(after),
		}
	}
	act := func(after, took time.Duration, order arc.Order, outcome arc.Outcome, reason string) episode.Record {
		r := base(episode.Action, after, 2, 2, reason)
		r.Cgroup, r.Harm, r.Order, r.Outcome = culprit, harm, &order, &outcome
		if took > 0 {
			r.Scheduled = tick + int64(after-took)
			r.Written = tick + int64(after)
			outcome.Written = r.Written
			r.Time = r.Time.Add(40 * time.Millisecond) // the tick after the answer
		}
		return r
	}
	opened := base(episode.Opened, 0, 1, 0, "distance 9.5 is above its limit 4")
	opened.Judgement = judgement
	contained := base(episode.LevelChanged, 100*time.Millisecond, 2, 1, "memory is gone in 2 s")
	contained.Judgement, contained.Cgroup, contained.Harm = judgement, culprit, harm
	return []episode.Record{
		opened,
		contained,
		act(100400*time.Microsecond, 400*time.Microsecond, hold,
			arc.Outcome{Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: 160 << 20, Deadline: 15e9}, "hold the growth"),
		act(5*time.Second, 3*time.Millisecond, hold,
			arc.Outcome{Verdict: arc.VerdictHeld, Original: arc.Unlimited, Value: 192 << 20, Deadline: 20e9}, "renew"),
		act(6*time.Second, 0, hold,
			arc.Outcome{Verdict: arc.VerdictRefused, Cause: "rate limit"}, "hold the growth"),
		act(7*time.Second, 0, hold,
			arc.Outcome{Verdict: arc.VerdictFailed, Cause: "write memory.high: device or resource busy"}, "renew"),
		act(40*time.Second, time.Millisecond, release,
			arc.Outcome{Verdict: arc.VerdictReleased, Original: arc.Unlimited, Value: arc.Unlimited}, "30 s below the limit"),
		base(episode.LevelChanged, 40*time.Second, 1, 2, "30 s below the limit"),
		base(episode.Closed, 70*time.Second, 0, 1, "30 s below the limit"),
	}
}

// newTestReceiver returns a receiver that retries fast and whose clock stands
// at the end of the story.
func newTestReceiver(t *testing.T) *reflexReceiver {
	t.Helper()
	set := receivertest.NewNopSettings(metadata.Type)
	set.BuildInfo.Version = "1.2.3"
	r, err := newReceiver(createDefaultConfig().(*Config), set)
	require.NoError(t, err)
	r.backoff = backoff{initial: time.Millisecond, limit: 4 * time.Millisecond}
	r.boot = func() time.Time { return began.Add(-time.Duration(tick)) }
	r.now = func() time.Time { return at(80 * time.Second) }
	return r
}

// start starts r on journal and shuts it down at the end of the test.
func start(t *testing.T, r *reflexReceiver, journal *episode.Journal) {
	t.Helper()
	require.NoError(t, r.Start(context.Background(), hostOf(journal)))
	t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
}

func appendAll(j *episode.Journal, records []episode.Record) {
	for _, r := range records {
		j.Append(r)
	}
}

// eventually waits for condition.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, 10*time.Second, time.Millisecond, what)
}
