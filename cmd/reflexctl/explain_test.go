// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/episode/story"
)

var twoInTheMorning = time.Date(2026, 3, 1, 2, 0, 0, 0, time.Local)

func at(seconds float64) time.Time {
	return twoInTheMorning.Add(time.Duration(seconds * float64(time.Second)))
}

// act is the answer to an order about a cgroup.
func act(when float64, id episode.ID, path string, verb arc.Verb, v arc.Verdict, generation uint64, reason string) episode.Record {
	cgroup := uint64(len(path))
	return episode.Record{
		Kind: episode.Action, Time: at(when), Episode: id, Level: 2, Previous: 2, Cgroup: episode.Cgroup{ID: cgroup, Path: path}, Reason: "memory.high of " + path + ": " + v.String(),
		Order:   &arc.Order{Cgroup: cgroup, Action: arc.ActionMemoryHigh, Verb: verb, Observe: v == arc.VerdictObserved, Generation: generation, Reason: reason},
		Outcome: &arc.Outcome{Verdict: v, Original: arc.Unlimited, Value: 160 << 20},
	}
}

func opened(when float64, id episode.ID) episode.Record {
	r := episode.Record{Kind: episode.Opened, Time: at(when), Episode: id, Level: 1, Previous: 1, Reason: "score 60.0 above limit 5.0, most by system.memory.used"}
	r.Judgement = arc.Judgement{Ready: true, Score: 60, Limit: 5, NumContributions: 1}
	r.Judgement.Contributions[0] = arc.Contribution{Dimension: "system.memory.used", Share: 3000, Value: 5e8, Usual: 1e8}
	return r
}

const why = "grows 50.0 MB/s, 800.0 MB left of its limit of 2.15 GB, exhausted in 16s"

// explain tells a journal at a time.
func explain(t *testing.T, now time.Time, records []episode.Record, args ...string) (string, error) {
	t.Helper()
	j := episode.NewJournal(100)
	for _, r := range records {
		j.Append(r)
	}
	return explainFrom(t, now, j, args...)
}

func explainFrom(t *testing.T, now time.Time, j *episode.Journal, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := explainCommandAt(func() time.Time { return now })
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append(args, "--endpoint", serve(t, &extension{journal: j})))
	err := c.Execute()
	return out.String(), err
}

func contained() []episode.Record {
	id := episode.ID{0xab}
	granted := act(0.9, id, "/payment.service", arc.Hold, arc.VerdictGranted, 1, why)
	granted.Scheduled, granted.Written = 1, 400_001
	return []episode.Record{
		opened(0.5, id),
		{Kind: episode.LevelChanged, Time: at(0.9), Episode: id, Level: 2, Previous: 1},
		granted,
		act(1.2, id, "/other.service", arc.Hold, arc.VerdictRefused, 2, ""),
	}
}

func TestAnOpenEpisodeInPlainWords(t *testing.T) {
	text, err := explain(t, at(12.5), contained())
	require.NoError(t, err)
	assert.Equal(t, `Episode ab000000 opened at 2026-03-01 02:00:00, 12s ago, and is open. Its highest level was 2, containment.

What was unusual: score 60.0 above limit 5.0, most by system.memory.used. system.memory.used was at 476.8 MiB, usually 95.37 MiB.

Who and why: /payment.service grows 50.0 MB/s, 800.0 MB left of its limit of 2.15 GB, exhausted in 16s.

What was done: at 02:00:00.900 memory.high was set from max to 160 MiB, 400µs after the tick that saw it. It is still held, after 11.6s; the original comes back when it ends.

Held back 1 times:
  memory.high of /other.service: refused

To undo:
  sudo reflexctl release /payment.service --for 1h
  sudo reflexctl kill-switch on    (everything, until switched off)

If it was wrong about this workload: list its cgroup in safelist of the reflex extension.
`, text)
}

func TestHowALeaseEndedIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		end  episode.Record
		want string
	}{
		"released": {
			act(40.9, episode.ID{0xab}, "/payment.service", arc.Release, arc.VerdictReleased, 1, "released: it has not pressed against its ceiling for 30s"),
			"It ended after 40s: it has not pressed against its ceiling for 30s.",
		},
		"lost": {
			act(10.9, episode.ID{0xab}, "/payment.service", arc.Hold, arc.VerdictLost, 1, why),
			"After 10s somebody else rewrote it, and it was left to them",
		},
		"refused": {
			act(10.9, episode.ID{0xab}, "/payment.service", arc.Hold, arc.VerdictRefused, 1, why),
			"It ended after 10s: the kill switch is on.",
		},
		"unanswered": {
			act(15.9, episode.ID{0xab}, "/payment.service", arc.Hold, arc.VerdictFailed, 1, why),
			"After 15s nothing was heard of it: the kill switch is on.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			switch c.end.Outcome.Verdict {
			case arc.VerdictFailed:
				c.end.Outcome.Deadline = 1
				fallthrough
			case arc.VerdictRefused:
				c.end.Outcome.Cause = "the kill switch is on"
			}
			operator := episode.Record{Kind: episode.Operator, Time: at(41), Episode: episode.ID{0xab}, Level: 1, Previous: 1, Reason: "uid 0: kill switch on"}
			closed := episode.Record{Kind: episode.Closed, Time: at(90.5), Episode: episode.ID{0xab}, Previous: 1}
			text, err := explain(t, at(100), append(contained(), c.end, operator, closed), "AB")
			require.NoError(t, err)
			assert.Contains(t, text, "and closed after 1m30s")
			assert.Contains(t, text, c.want)
			assert.Contains(t, text, "Operators:\n  uid 0: kill switch on\n")
			assert.Contains(t, text, "There is nothing to undo.")
			assert.NotContains(t, text, "sudo reflexctl release")
		})
	}
}

func TestLeasesOfOneCgroupAreToldApart(t *testing.T) {
	id := episode.ID{0xab}
	text, err := explain(t, at(20), []episode.Record{
		opened(0, id),
		act(1, id, "/payment.service", arc.Hold, arc.VerdictGranted, 1, "grows once"),
		act(5, id, "/payment.service", arc.Hold, arc.VerdictGranted, 2, "grows twice"),
		act(6, id, "/payment.service", arc.Release, arc.VerdictReleased, 1, "released: late"),
	})
	require.NoError(t, err)
	assert.Contains(t, text, "grows once")
	assert.Contains(t, text, "It ended after 5s: late.")
	assert.Contains(t, text, "grows twice")
	assert.Contains(t, text, "It is still held, after 15s")
}

func TestExplainingProgramsAndNothing(t *testing.T) {
	text, err := explain(t, at(12.5), contained(), "-o", "json")
	require.NoError(t, err)
	var s map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	assert.Equal(t, "ab000000000000000000000000000000", s["episode"])
	deeds := s["deeds"].([]any)
	require.Len(t, deeds, 1)
	assert.Equal(t, "max", deeds[0].(map[string]any)["original"])
	assert.Equal(t, "granted", deeds[0].(map[string]any)["verdict"])
	assert.NotContains(t, deeds[0], "ended")

	text, err = explain(t, at(1), nil)
	require.NoError(t, err)
	assert.Contains(t, text, "Nothing has happened")
	text, err = explain(t, at(1), nil, "-o", "json")
	require.NoError(t, err)
	assert.Equal(t, "null\n", text)
	_, err = explain(t, at(1), contained(), "ff")
	require.ErrorContains(t, err, "no episode that begins with")
	_, err = explain(t, at(1), append(contained(), opened(2, episode.ID{0xab, 1})), "ab")
	require.ErrorContains(t, err, "several episodes")
	_, err = explain(t, at(1), contained(), "last", "--observed")
	require.ErrorContains(t, err, "leave the episode out")
	_, err = explain(t, at(1), contained(), "--observed", "--since", "-1h")
	require.ErrorContains(t, err, "--since")
}

func TestAnEpisodeWhoseBeginningIsGoneIsToldAsFarAsItGoes(t *testing.T) {
	text, err := explain(t, at(12.5), contained()[1:])
	require.NoError(t, err)
	assert.Contains(t, text, "Its beginning has left the journal.")
	assert.Contains(t, text, "/payment.service grows 50.0 MB/s")
}

// observedTwice: payment would have been held for 40 s and, in the second
// episode, still; the batch job for 5 s.
func observedTwice() []episode.Record {
	first, second := episode.ID{1}, episode.ID{2}
	declined := act(1, first, "/cache.service", arc.Hold, arc.VerdictRefused, 0, "")
	declined.Outcome.Cause = "policy: page_cache"
	return []episode.Record{
		opened(0, first),
		declined,
		act(1, first, "/payment.service", arc.Hold, arc.VerdictObserved, 1, why),
		act(2, first, "/batch.service", arc.Hold, arc.VerdictObserved, 2, "grows 9.0 MB/s"),
		act(7, first, "/batch.service", arc.Release, arc.VerdictObserved, 2, "released: it is gone"),
		act(41, first, "/payment.service", arc.Release, arc.VerdictObserved, 1, "released: calm"),
		{Kind: episode.Closed, Time: at(60), Episode: first, Previous: 1},
		opened(3600, second),
		act(3601, second, "/payment.service", arc.Hold, arc.VerdictObserved, 3, "grows 60.0 MB/s"),
	}
}

func TestWhatObservingWouldHaveDone(t *testing.T) {
	text, err := explain(t, at(3621), observedTwice(), "--observed")
	require.NoError(t, err)
	assert.Contains(t, text, "to 2026-03-01 03:00:21: 2 episodes.")
	assert.Contains(t, text, "It would have acted 3 times, on 2 workloads:")
	assert.Regexp(t, `/payment\.service +memory\.high +2 +1m0s +40s +2026-03-01 03:00:01 +grows 60\.0 MB/s`, text)
	assert.Regexp(t, `/batch\.service +memory\.high +1 +5s +5s`, text)
	assert.Regexp(t, `policy: page_cache +1`, text)
	assert.Contains(t, text, "reaches no further back", "nobody knows whether there was anything in the 23 hours before")

	text, err = explain(t, at(3621), observedTwice(), "--observed", "-o", "json")
	require.NoError(t, err)
	var r story.Observed
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	require.Len(t, r.Would, 2)
	assert.Equal(t, 60.0, r.Would[0].Total)
	assert.Equal(t, 0, r.Acted)
}

func TestTheReportIsOfTheTimeAskedFor(t *testing.T) {
	text, err := explain(t, at(3621), observedTwice(), "--observed", "--since", "10m")
	require.NoError(t, err)
	assert.Contains(t, text, "1 episodes.")
	assert.Contains(t, text, "acted 1 times, on 1 workloads")
	assert.NotContains(t, text, "batch")
	assert.NotContains(t, text, "page_cache")

	text, err = explain(t, at(50), observedTwice()[:6], "--observed", "--since", "20s")
	require.NoError(t, err)
	assert.Regexp(t, `/payment\.service +memory\.high +1 +11s`, text, "only the part within the time")
}

func TestAReportSaysWhereTheJournalEnds(t *testing.T) {
	small := episode.NewJournal(6)
	for _, r := range observedTwice() {
		small.Append(r)
	}
	text, err := explainFrom(t, at(3621), small, "--observed")
	require.NoError(t, err)
	assert.Contains(t, text, "From 2026-03-01 02:00:01", "refusals are displaced first")
	assert.Contains(t, text, "reaches no further back")

	text, err = explain(t, at(3621), contained(), "--observed")
	require.NoError(t, err)
	assert.Contains(t, text, "It was enforcing: it acted 1 times.")
	text, err = explain(t, at(3621), nil, "--observed")
	require.NoError(t, err)
	assert.Contains(t, text, "would have touched nobody")
	assert.Contains(t, text, "reaches no further back")
}

// What is to be pasted into a shell is nothing but words, whatever a workload is called.
func TestACommandToPasteIsNoProgramOfAWorkload(t *testing.T) {
	for name, want := range map[string]string{
		"/user.slice/x;id>pwned;#.service": "release 32 --for", "/a$(id).service": "release 15 --for", "/two words.service": "release 18 --for",
		"/system.slice/payment@1.service": "release /system.slice/payment@1.service --for",
	} {
		id := episode.ID{0xab}
		text, err := explain(t, at(12), []episode.Record{opened(0, id), act(1, id, name, arc.Hold, arc.VerdictGranted, 1, why)})
		require.NoError(t, err)
		assert.Contains(t, text, want)
	}
}

func TestANameDoesNotSteerTheTerminal(t *testing.T) {
	evil := act(1, episode.ID{1}, "/a\x1b[2Jb", arc.Hold, arc.VerdictObserved, 1, "x\ny")
	for _, args := range [][]string{nil, {"--observed"}} {
		text, err := explain(t, at(2), []episode.Record{opened(0, episode.ID{1}), evil}, args...)
		require.NoError(t, err)
		assert.NotContains(t, text, "\x1b")
		assert.NotContains(t, text, "x\ny")
	}
}
