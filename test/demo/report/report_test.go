// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/demo/telemetry"
)

func TestAGoodRunKeepsEveryPromise(t *testing.T) {
	r := Analyse(recorded(t))
	for _, c := range r.Acceptance {
		assert.True(t, c.OK, "%s: %s", c.Name, c.Got)
	}
	assert.True(t, r.Passed)
	assert.InDelta(t, 0.4, *r.Detected, 1e-6)
	assert.InDelta(t, 0.6, *r.Contained, 1e-6)
	assert.InDelta(t, 0.601, *r.ContainedRecorded, 1e-6)
	assert.InDelta(t, 16.7, *r.OOMKillWithout, 1e-6)
	assert.Nil(t, r.OOMKillWith)
	assert.Equal(t, 6000, r.TransactionsWith)
	assert.Equal(t, 1670, r.TransactionsWithout)
	assert.InDelta(t, 4.96, r.NeighbourP99With, 1e-6)
	assert.InDelta(t, 4.96, r.NeighbourP99Baseline, 1e-6)
	assert.Equal(t, telemetry.Counts{Logs: 14, Metrics: 60, Spans: 4}, r.OTLP)
	assert.Equal(t, []int{1, 2}, []int{r.Levels[0].Level, r.Levels[1].Level})
}

// Every way to fail breaks its own promise and no other.
func TestEachFailureBreaksItsPromise(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil  func(in *Input)
		broken []string
	}{
		"the unprotected service lives": {func(in *Input) {
			a := in.Arms[recording.Without]
			a.PaymentKilled, a.OOMKills = 0, 0
		}, []string{"the leak kills the unprotected service"}},
		"the unprotected service ends for another reason": {func(in *Input) {
			in.Arms[recording.Without].OOMKills = 0
		}, []string{"the leak kills the unprotected service"}},
		"contained too late": {func(in *Input) {
			a := in.Arms[recording.With]
			a.Ceilings = []recording.Ceiling{a.Ceilings[0], {Time: onset + 2_010_000_000, Value: 1 << 30}}
		}, []string{"contained in time"}},
		"contained only by its own word": {func(in *Input) {
			a := in.Arms[recording.With]
			a.Ceilings = a.Ceilings[:1]
		}, []string{"contained in time"}},
		"a ceiling of before the onset": {func(in *Input) {
			in.Arms[recording.With].Ceilings = []recording.Ceiling{{Time: onset - 1, Value: 1 << 30}}
		}, []string{"contained in time"}},
		"killed with Reflex": {func(in *Input) {
			in.Arms[recording.With].PaymentKilled = onset + 50*second
		}, []string{"the protected service lives"}},
		"alive but silent": {func(in *Input) {
			silence(in.Answers[recording.With], end-5*second)
		}, []string{"the protected service lives"}},
		"too few transactions": {func(in *Input) {
			all := in.Answers[recording.With]
			n := 0
			for i := range all {
				if all[i].Service == recording.Payment && all[i].Done() >= onset {
					all[i].OK = n%2 == 0 // 3,000 against 1,670
					n++
				}
			}
		}, []string{"the protected service earns"}},
		"the neighbour is slow": {func(in *Input) {
			all := in.Answers[recording.With]
			for i := range all {
				if all[i].Service == recording.Neighbour && all[i].Intended >= onset {
					all[i].Latency = all[i].Latency * 126 / 100
				}
			}
		}, []string{"the neighbour does not pay"}},
		"too few windows": {func(in *Input) {
			a := in.Arms[recording.With]
			a.End = onset + 45*second
			in.Arms[recording.Without].PaymentKilled = onset + 16_700_000_000
		}, []string{"the neighbour does not pay"}},
		"the neighbour was contained": {func(in *Input) {
			in.Arms[recording.With].NeighbourCeilingChanged = true
		}, []string{"the innocent is not touched"}},
		"no log events": {func(in *Input) {
			in.Story.Actions = nil
		}, []string{"the episode is told"}},
		"no metrics of the episode": {func(in *Input) {
			in.Story.Episodes[strings.Repeat("ab", 16)] = telemetry.Counts{Logs: 14, Spans: 4}
		}, []string{"the episode is told"}},
		"no trace of the episode": {func(in *Input) {
			in.Story.Episodes[strings.Repeat("ab", 16)] = telemetry.Counts{Logs: 14, Metrics: 60}
		}, []string{"the episode is told"}},
		"another cgroup was contained": {func(in *Input) {
			in.Story.Actions[0].Cgroup = "/neighbour.service"
		}, []string{"the episode is told"}},
		"the ceiling stays": {func(in *Input) {
			in.Arms[recording.With].CeilingAfter = 1 << 30
		}, []string{"the ceiling is given back"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := recorded(t)
			tc.spoil(in)
			r := Analyse(in)
			var broken []string
			for _, c := range r.Acceptance {
				if !c.OK {
					broken = append(broken, c.Name)
				}
			}
			assert.Equal(t, tc.broken, broken)
			assert.False(t, r.Passed)
		})
	}
}

// silence fails every answer of the payment service from an instant on.
func silence(answers []recording.Answer, from int64) {
	for i := range answers {
		if answers[i].Service == recording.Payment && answers[i].Done() >= from {
			answers[i].OK = false
		}
	}
}

func TestALevelOfBeforeTheOnsetIsNoDetection(t *testing.T) {
	in := recorded(t)
	in.Story.Levels = []telemetry.LevelChange{
		{Time: wall + onset - 5*second, Level: 1},
		{Time: wall + onset + 1*second, Level: 0, Previous: 1},
		{Time: wall + onset + 3*second, Level: 1},
	}
	assert.InDelta(t, 3, *Analyse(in).Detected, 1e-9)
}

func TestWithoutTelemetryThereIsAReport(t *testing.T) {
	in := recorded(t)
	in.Story = nil
	r := Analyse(in)
	assert.Nil(t, r.Detected)
	assert.NotNil(t, r.Contained, "the observer needs no telemetry")
	assert.False(t, r.Passed)
	require.NoError(t, Write(t.TempDir(), in, r))
}

func TestTheDataHoldsTheAgreedKeys(t *testing.T) {
	in, dir := recorded(t), t.TempDir()
	require.NoError(t, Write(dir, in, Analyse(in)))
	b, err := os.ReadFile(filepath.Join(dir, DataFile))
	require.NoError(t, err)
	var data map[string]any
	require.NoError(t, json.Unmarshal(b, &data))
	for _, key := range []string{
		"environment", "kernel", "detected_s", "contained_s", "oom_kill_s_without", "payment_alive_with",
		"transactions_with", "transactions_without",
		"neighbour_p99_ms_with", "neighbour_p99_ms_without", "neighbour_p99_ms_baseline",
		"levels", "otlp", "acceptance",
	} {
		assert.Contains(t, data, key)
	}
	assert.Equal(t, map[string]any{"logs": 14.0, "metrics": 60.0, "spans": 4.0}, data["otlp"])
	check := data["acceptance"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "want", "got", "ok"} {
		assert.Contains(t, check, key)
	}
}

func TestThePageLoadsNothing(t *testing.T) {
	in := recorded(t)
	in.Story.Levels[0].Reason = `<script src="https://example.org/x.js">`
	in.Story.Scores[3].Distance = math.NaN()
	var b strings.Builder
	require.NoError(t, WriteHTML(&b, in, Analyse(in)))
	page := b.String()
	outside := regexp.MustCompile(`(?i)<(script|link|img|iframe|object|embed)|\b(src|href|srcset|action)\s*=\s*["']?|url\(|@import`)
	// Text of the telemetry may name an address; markup may not.
	markup := strings.ReplaceAll(page, "&lt;script src=&#34;https://example.org/x.js&#34;&gt;", "")
	assert.NotEqual(t, page, markup, "text is escaped")
	assert.Empty(t, outside.FindAllString(markup, -1))
	assert.NotContains(t, markup, "://")
	assert.Equal(t, 5, strings.Count(page, "<svg"))
	assert.NotContains(t, page, "NaN")
	assert.Contains(t, page, "Reflex noticed a leak of 50 MB/s after 0.4 s and contained it after 0.6 s")
}

func TestTheHeadlineHidesNothing(t *testing.T) {
	in := recorded(t)
	in.Arms[recording.With].Ceilings = nil
	in.Arms[recording.With].PaymentKilled = onset + 20*second
	h := Analyse(in).Headline
	assert.Contains(t, h, "did not contain it")
	assert.Contains(t, h, "did not survive")
}

func TestABusyMachineIsNamed(t *testing.T) {
	in := recorded(t)
	in.Arms[recording.With].LatenessLeak = busy
	assert.Empty(t, Analyse(in).Trouble)
	in.Arms[recording.With].LatenessLeak = 22
	r := Analyse(in)
	require.Len(t, r.Trouble, 1)
	assert.Contains(t, r.Trouble[0], "with: the machine was busy")
	assert.True(t, r.Passed, "it is said, not held against the arc")
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		assert.Equal(t, want, thousands(n))
	}
}

func TestARecordingIsLoaded(t *testing.T) {
	in, dir := recorded(t), t.TempDir()
	require.NoError(t, recording.WriteJSON(dir, recording.EnvironmentFile, in.Environment))
	for name, arm := range in.Arms {
		require.NoError(t, recording.WriteJSON(dir, recording.ArmFile(name), arm))
		f, err := os.Create(filepath.Join(dir, recording.AnswersFile(name)))
		require.NoError(t, err)
		require.NoError(t, recording.WriteAnswers(f, in.Answers[name]))
		require.NoError(t, f.Close())
	}
	loaded, err := Load(dir)
	require.NoError(t, err, "a run that exported nothing is loaded all the same")
	assert.Equal(t, in.Arms, loaded.Arms)
	assert.Equal(t, in.Answers, loaded.Answers)

	require.NoError(t, os.Remove(filepath.Join(dir, recording.ArmFile(recording.With))))
	_, err = Load(dir)
	assert.ErrorContains(t, err, `arm "with"`)
}
