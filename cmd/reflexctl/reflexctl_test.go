// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/extension/reflexextension"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// extension is a fake status API over a real journal.
type extension struct {
	mu      sync.Mutex
	journal *episode.Journal
	status  reflexextension.Status
	away    bool
}

func (e *extension) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var answer any
	switch {
	case e.away:
		http.Error(w, "on its way", http.StatusServiceUnavailable)
		return
	case r.URL.Path == "/status":
		e.status.Journal = e.journal.Stats()
		answer = e.status
	case r.URL.Path == "/journal":
		after, _ := strconv.ParseUint(r.FormValue("after"), 10, 64)
		limit, _ := strconv.Atoi(r.FormValue("limit"))
		answer = e.journal.Read(after, make([]episode.Record, 0, limit))
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (e *extension) change(f func(e *extension)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

func serve(t *testing.T, e *extension) string {
	t.Helper()
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return server.URL
}

// run runs the whole command line.
func run(args ...string) (string, error) {
	var out bytes.Buffer
	c := command()
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.Execute()
	return out.String(), err
}

func busy() reflexextension.Status {
	two, f := 2.0, func(v float64) *float64 { return &v }
	return reflexextension.Status{
		Version: "1.2.3", Mode: reflexextension.ModeStatus{Requested: "enforce", Effective: "observe"},
		Problem: "the guard does not answer", Guard: reflexextension.GuardStatus{Link: "/run/reflex/guard.sock", Cause: "connection refused"},
		Level: 2, LevelName: "containment",
		Episode: &reflexextension.EpisodeStatus{ID: "ab000000000000000000000000000001", OpenFor: 12},
		Leases: []reflexextension.LeaseStatus{{
			Cgroup: 7, Path: "/payment\x1b[2J", Action: "memory.high", Phase: "held", Verdict: "observed", Ceiling: 160 << 20, HeldFor: 8, ExpireIn: 12.5, Reason: "it grows",
		}},
		Harm:  &reflexextension.HarmStatus{Kind: "cgroup_limit", Available: 100 << 20, Limit: arc.Unlimited, Growth: 50 << 20, Exhaustion: &two},
		Input: reflexextension.InputStatus{Source: "ebpf", Judge: "mahalanobis", Sequence: 42, Age: 0.1, Interval: 0.1, Cgroups: 200, Missed: 3, Stale: true},
		Judgement: &reflexextension.JudgementStatus{
			Ready: true, Anomalous: true, Score: f(9.5), Limit: f(4), Velocity: f(2), Acceleration: nil,
			Contributions: []reflexextension.ContributionStatus{{Dimension: "system.memory.used", Share: f(80), Value: f(5e8), Usual: f(1e8)}},
		},
	}
}

func TestStatusForPeople(t *testing.T) {
	text, err := run("status", "--endpoint", serve(t, &extension{journal: episode.NewJournal(4), status: busy()}))
	require.NoError(t, err)
	for _, want := range []string{
		"2 containment", "observe (enforce is configured)", "the guard does not answer",
		"/run/reflex/guard.sock: not reachable: connection refused", "open for 12s",
		"cgroup_limit: 100 MiB left of max, going at 50 MiB/s, gone in 2s",
		"ebpf every 100ms, 200 cgroups, last 100ms ago, STALE", "3 ticks missed", "mahalanobis",
		"9.5 of 4: anomalous, velocity 2/s, acceleration –/s²", "system.memory.used at 476.8 MiB (usually 95.37 MiB), share 80",
		"160 MiB", "12.5s", "it grows",
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "\x1b", "a cgroup's name does not steer the terminal")
}

func TestHeadingsStandBelowAnEmptyLine(t *testing.T) {
	s := busy()
	require.NoError(t, json.Unmarshal([]byte(`[{"name":"PSI","cause":"it is off","remedy":"boot with psi=1"}]`), &s.Missing))
	require.NotEmpty(t, s.Leases)
	for i := range s.Leases {
		s.Leases[i].Path = "/payment"
	}
	text, err := run("status", "--endpoint", serve(t, &extension{journal: episode.NewJournal(4), status: s}))
	require.NoError(t, err)
	assert.Contains(t, text, "\n\nCGROUP ")
	assert.Contains(t, text, "\n\nmissing\n")
	assert.NotContains(t, text, "\uFFFD")
}

func TestStatusBeforeAnythingHappened(t *testing.T) {
	s := reflexextension.Status{LevelName: "normal", Guard: reflexextension.GuardStatus{Link: "embedded", Reachable: true}}
	text, err := run("status", "--endpoint", serve(t, &extension{journal: episode.NewJournal(4), status: s}))
	require.NoError(t, err)
	assert.Contains(t, text, "0 normal")
	assert.Contains(t, text, "nothing has arrived")
	assert.NotContains(t, text, "CGROUP")
}

func TestStatusForProgramsIsWhatTheExtensionSays(t *testing.T) {
	e := &extension{journal: episode.NewJournal(4), status: busy()}
	text, err := run("status", "-o", "json", "--endpoint", strings.TrimPrefix(serve(t, e), "http://"))
	require.NoError(t, err)
	want, err := json.Marshal(e.status)
	require.NoError(t, err)
	assert.JSONEq(t, string(want), text)
}

// keys returns the JSON paths of a type.
func keys(of reflect.Type, at string, into map[string]reflect.Kind) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		into[at] = of.Kind()
		return
	}
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		keys(of.Field(i).Type, at+"."+name, into)
	}
}

func TestStatusReadsWhatTheExtensionWrites(t *testing.T) {
	ours, theirs := map[string]reflect.Kind{}, map[string]reflect.Kind{}
	keys(reflect.TypeFor[status](), "", ours)
	keys(reflect.TypeFor[reflexextension.Status](), "", theirs)
	assert.Equal(t, theirs, ours)
}

func records() []episode.Record {
	began := time.Date(2026, 3, 1, 2, 0, 0, 0, time.Local)
	id := episode.ID{0xab}
	return []episode.Record{
		{Kind: episode.Opened, Time: began, Episode: id, Level: 1, Reason: "distance 9.5 is above its limit 4"},
		{Kind: episode.LevelChanged, Time: began, Episode: id, Level: 2, Previous: 1, Cgroup: episode.Cgroup{ID: 7, Path: "/payment"}},
		{
			Kind: episode.Action, Time: began, Episode: id, Level: 2, Previous: 2, Cgroup: episode.Cgroup{ID: 7, Path: "/pay\x1bment"},
			Order: &arc.Order{Action: arc.ActionMemoryHigh}, Outcome: &arc.Outcome{Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: 160 << 20},
			Scheduled: 1, Written: 400001,
		},
		{
			Kind: episode.Action, Time: began, Episode: id, Level: 2, Previous: 2,
			Order: &arc.Order{Action: arc.ActionMemoryHigh}, Outcome: &arc.Outcome{Verdict: arc.VerdictRefused, Cause: "rate limit"},
		},
		{Kind: episode.Closed, Time: began, Episode: id, Previous: 1},
	}
}

func TestJournalForPeople(t *testing.T) {
	e := &extension{journal: episode.NewJournal(2000)}
	for _, r := range records() {
		e.journal.Append(r)
	}
	text, err := run("journal", "--endpoint", serve(t, e))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	require.Len(t, lines, 5)
	assert.Equal(t, "1  2026-03-01 02:00:00.000  ab000000  episode opened  distance 9.5 is above its limit 4", lines[0])
	assert.Contains(t, lines[1], "watchfulness → containment  /payment")
	assert.Contains(t, lines[2], "memory.high granted  /pay�ment  160 MiB (was max)  [tick to knob 400µs]")
	assert.Contains(t, lines[3], "memory.high refused; rate limit")
	assert.Contains(t, lines[4], "episode closed")
}

func TestALongJournalIsReadInPagesFromItsCursor(t *testing.T) {
	e := &extension{journal: episode.NewJournal(3 * pageSize)}
	for range 3 * pageSize {
		e.journal.Append(records()[0])
	}
	text, err := run("journal", "-o", "json", "--after", "10", "--endpoint", serve(t, e))
	require.NoError(t, err)
	decoder := json.NewDecoder(strings.NewReader(text))
	for want := uint64(11); want <= 3*pageSize; want++ {
		var r episode.Record
		require.NoError(t, decoder.Decode(&r))
		require.Equal(t, want, r.ID)
	}
	assert.ErrorIs(t, decoder.Decode(&struct{}{}), io.EOF)
}

func TestFollowGoesOnThroughARestartOfTheCollector(t *testing.T) {
	e := &extension{journal: episode.NewJournal(100)}
	e.journal.Append(records()[0])
	e.journal.Append(records()[1])
	var (
		seen  = make(chan uint64, 100)
		notes bytes.Buffer
		ticks = make(chan time.Time)
		done  = make(chan error, 1)
	)
	f := &follower{extension: &client{serve(t, e)}, print: func(r *episode.Record) error {
		seen <- r.ID
		return nil
	}}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- f.follow(ctx, ticks, &notes) }()
	tick := func() { ticks <- time.Time{} } // accepted when the look before it is over
	tick()
	tick()
	assert.Equal(t, []uint64{1, 2}, []uint64{<-seen, <-seen})
	assert.Empty(t, seen, "every record once")

	e.change(func(e *extension) { e.away = true })
	tick()
	tick()
	e.change(func(e *extension) { e.away, e.journal = false, episode.NewJournal(100); e.journal.Append(records()[0]) })
	tick()
	tick()
	assert.Equal(t, uint64(1), <-seen)
	cancel()
	require.NoError(t, <-done)
	assert.Equal(t, 1, strings.Count(notes.String(), "waiting for it"), "told once")
	assert.Equal(t, 1, strings.Count(notes.String(), "started anew"))
}

func TestWhatDoesNotAnswerAsReflexIsAnError(t *testing.T) {
	strange := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer strange.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []struct{ endpoint, err string }{
		{strange.URL, "perhaps not Reflex"},
		{gone.URL, "is the collector running"},
		{serve(t, &extension{away: true}), "503 Service Unavailable: on its way"},
		{"http://bad host", "endpoint"},
	} {
		for _, command := range []string{"status", "journal"} {
			_, err := run(command, "--endpoint", c.endpoint)
			require.ErrorContains(t, err, c.err)
			assert.Equal(t, exitFailed, exitCode(err))
		}
	}
}

func TestEveryCommandHelpsAndCompletes(t *testing.T) {
	for _, c := range command().Commands() {
		assert.NotEmpty(t, c.Short, c.Name())
		_, err := run(c.Name(), "--help")
		require.NoError(t, err)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		text, err := run("completion", shell)
		require.NoError(t, err)
		assert.Contains(t, text, "reflexctl")
	}
	text, err := run("__complete", "probe", "--output", "")
	require.NoError(t, err)
	assert.Contains(t, text, "table\njson\n")
	_, err = run("journal", "--every", "1ms")
	require.ErrorContains(t, err, "--every")
	_, err = run("status", "extra")
	assert.Error(t, err)
}

func TestExitCodes(t *testing.T) {
	assert.Equal(t, 0, exitCode(nil))
	assert.Equal(t, 1, exitCode(errors.New("x")))
	assert.Equal(t, 3, exitCode(errMissing))
	assert.Equal(t, 4, exitCode(fmt.Errorf("ordered: %w", errUnconfirmed)))
}

func TestVersionIsTheLinkersOrTheBuilds(t *testing.T) {
	info := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}}}
	assert.Equal(t, "abc", versionOf(info, true))
	info.Main.Version = "v1.2.3"
	assert.Equal(t, "v1.2.3", versionOf(info, true))
	assert.Equal(t, "unknown", versionOf(nil, false))
	text, err := run("version")
	require.NoError(t, err)
	assert.NotEmpty(t, strings.TrimSpace(text))
}

func TestSizesAndDurationsForPeople(t *testing.T) {
	assert.Equal(t, "max", words.Size(arc.Unlimited))
	assert.Equal(t, "0 B", words.Size(0))
	assert.Equal(t, "1.5 KiB", words.Size(1536))
	assert.Equal(t, "2 TiB", words.Size(2<<40))
	assert.Equal(t, "1ms", words.Seconds(0.001))
	assert.Equal(t, "1m30s", words.Seconds(90))
}
