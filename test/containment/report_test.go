// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

var (
	guiltyOne = Scenario{Name: "leak", About: "a leak", Knobs: []string{"memory.high"}, Required: true}
	optional  = Scenario{Name: "cpu", About: "a spin", Knobs: []string{"cpu.max"}}
	innocent  = Scenario{Name: "jvm", About: "a start"}
	published = Scenario{Name: "heap", About: "a heap", FalsePositives: true}
	table     = []Scenario{guiltyOne, optional, innocent, published}
)

// after is a trial that was contained so many seconds after its onset, 0 for never.
func after(scenario string, seconds float64) Trial {
	t := Trial{Scenario: scenario, Guard: Separate, Onset: 1e9}
	if seconds > 0 {
		t.Contained = t.Onset + int64(seconds*1e9)
		t.By = []string{scenario + ".service memory.high"}
	}
	return t
}

func TestASuiteThatContainsAndSparesPasses(t *testing.T) {
	r := Analyse(table, []Trial{after("leak", 0.4), after("cpu", 0), after("jvm", 0), after("heap", 0)}, nil)
	assert.True(t, r.Passed, r.Broken)
	require.Len(t, r.Scenarios, 4)
	leak, cpu, jvm := r.Scenarios[0], r.Scenarios[1], r.Scenarios[2]
	assert.Equal(t, 1, leak.Contained)
	assert.InDelta(t, 0.4, *leak.OnsetToContained.P50, 1e-9)
	assert.Equal(t, 0, cpu.Contained)
	assert.Nil(t, cpu.OnsetToContained.P50)
	assert.Equal(t, "untouched", jvm.Expected)
	assert.True(t, jvm.InnocentUntouched)
}

func TestWhatBreaksTheSuite(t *testing.T) {
	touched := after("leak", 0.4)
	touched.Touched = []string{"neighbour.service cpu.weight 100 → 1"}
	start := after("jvm", 0)
	start.Touched = []string{"jvm.service memory.high max → 1000"}
	failed := after("leak", 0)
	failed.Failed = "no disk"
	for name, c := range map[string]struct {
		trials []Trial
		says   string
	}{
		"a required culprit is not contained": {[]Trial{after("leak", 0.4), after("leak", 0)}, "leak: contained in 1 of 2 runs"},
		"a neighbour is touched":              {[]Trial{touched}, "neighbour.service cpu.weight"},
		"an innocent is contained":            {[]Trial{start}, "jvm.service memory.high"},
		"a scenario cannot be played":         {[]Trial{failed}, "no disk"},
	} {
		r := Analyse(table, c.trials, nil)
		assert.False(t, r.Passed, name)
		require.Len(t, r.Broken, 1, name)
		assert.Contains(t, r.Broken[0], c.says, name)
	}
}

func TestFalsePositivesOfAWarmServiceArePublished(t *testing.T) {
	hit := after("heap", 0)
	hit.Touched = []string{"heap.service memory.high max → 1000"}
	r := Analyse(table, []Trial{hit, after("heap", 0)}, nil)
	assert.True(t, r.Passed)
	assert.False(t, r.Scenarios[0].InnocentUntouched)
	assert.Equal(t, 1, r.Scenarios[0].InnocentTouched)
	assert.Contains(t, r.Markdown(), "**1 of 2**")
}

// A 95th percentile of a few runs would be their maximum under another name.
func TestAPercentileNeedsTwentyRuns(t *testing.T) {
	var trials []Trial
	for i := range 19 {
		trials = append(trials, after("leak", 0.1*float64(i+1)))
	}
	few := Analyse(table, trials, nil).Scenarios[0].OnsetToContained
	assert.Equal(t, "maximum", few.P95Is)
	assert.InDelta(t, 1.9, *few.P95, 1e-9)
	assert.InDelta(t, 1.0, *few.P50, 1e-9)

	many := Analyse(table, append(trials, after("leak", 9)), nil).Scenarios[0].OnsetToContained
	assert.Equal(t, "p95", many.P95Is)
	assert.InDelta(t, 1.9, *many.P95, 1e-9)
}

func TestABudgetOfTheOnsetIsForTwentyRuns(t *testing.T) {
	hasty := []Scenario{{Name: "leak", About: "a leak", Knobs: []string{"memory.high"}, Required: true, Budget: time.Second}}
	trials := []Trial{after("leak", 1.2)}
	r := Analyse(hasty, trials, nil)
	assert.True(t, r.Passed)
	assert.Equal(t, []string{"leak: onset to contained took 1.20 s (maximum), of a budget of 1.00 s for the 95th percentile"}, r.Trouble)
	for range 18 {
		trials = append(trials, after("leak", 0.4))
	}
	r = Analyse(hasty, append(trials, after("leak", 0.4)), nil)
	assert.True(t, r.Passed, "one of twenty: %v", r.Broken)
	r = Analyse(hasty, append(trials, after("leak", 1.4)), nil)
	assert.Len(t, r.Broken, 1)
	assert.False(t, r.Passed)
}

func TestThePlacesOfTheGuardAreToldApart(t *testing.T) {
	embedded := after("leak", 0)
	embedded.Guard = Embedded
	r := Analyse(table, []Trial{after("leak", 0.4), embedded}, nil)
	require.Len(t, r.Scenarios, 2)
	assert.Equal(t, Separate, r.Scenarios[0].Guard)
	assert.Equal(t, []string{"leak (guard: embedded): contained in 0 of 1 runs"}, r.Broken)
}

func TestTickToKnobIsHeldAgainstTheTimer(t *testing.T) {
	samples := make([]float64, 100)
	for i := range samples {
		samples[i] = float64(i + 1)
	}
	r := Analyse(nil, nil, []Ticks{
		{Condition: "idle", Guard: Separate, Samples: samples, Sent: []float64{7, 3}, TimerP99: 33},
		{Condition: "thrash", Guard: Separate, Samples: samples, TimerP99: 32.9},
		{Condition: "fork bomb", Guard: Separate, TimerP99: 5},
	})
	require.Len(t, r.TickToKnob, 3)
	assert.Equal(t, Arc{Condition: "idle", Guard: Separate, Samples: 100, P50: 50, P99: 99, SentP50: 3, SentP99: 7, TimerP99: 33, WithinBudget: true}, r.TickToKnob[0])
	assert.False(t, r.TickToKnob[1].WithinBudget)
	assert.False(t, r.TickToKnob[2].WithinBudget, "nothing measured is nothing kept")
	assert.Equal(t, []string{"tick to knob, fork bomb (guard: separate): p99 of 0.0 ms, and 99.0 ms when the node is idle"}, r.Broken)
	assert.False(t, r.Passed)
	assert.Len(t, r.Trouble, 5, "too few samples, and two over their budget")
	slow := make([]float64, len(samples))
	for i := range slow {
		slow[i] = 3.1 * samples[i]
	}
	r = Analyse(nil, nil, []Ticks{{Condition: "idle", Guard: Separate, Samples: samples, TimerP99: 33}, {Condition: "exporters hung", Guard: Separate, Samples: slow, TimerP99: 500}})
	assert.Equal(t, []string{"tick to knob, exporters hung (guard: separate): p99 of 306.9 ms, and 99.0 ms when the node is idle"}, r.Broken)
}

func TestTheReportHasTheKeysThatOthersRead(t *testing.T) {
	dir := t.TempDir()
	r := Analyse(table, []Trial{after("leak", 0.4)}, []Ticks{{Condition: "idle", Guard: Separate, Samples: []float64{1}}})
	r.Crashed(&Crash{Steps: 10, Kills: 2})
	require.NoError(t, r.Write(dir))
	text, err := os.ReadFile(filepath.Join(dir, DataFile))
	require.NoError(t, err)
	var read map[string]any
	require.NoError(t, json.Unmarshal(text, &read))
	scenario := read["scenarios"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "runs", "contained", "onset_to_contained_s", "innocent_untouched"} {
		assert.Contains(t, scenario, key)
	}
	assert.Contains(t, scenario["onset_to_contained_s"], "p50")
	assert.Contains(t, scenario["onset_to_contained_s"], "p95")
	for _, key := range []string{"condition", "p50_ms", "p99_ms", "timer_p99_ms"} {
		assert.Contains(t, read["tick_to_knob"].([]any)[0], key)
	}
	assert.Contains(t, read["crash"], "steps")
	assert.Contains(t, read["crash"], "violations")
	assert.FileExists(t, filepath.Join(dir, TextFile))
}

func TestTheNeighbourIsHeardBeforeAndAfterTheOnset(t *testing.T) {
	answer := func(at, latency int64, ok bool) recording.Answer {
		return recording.Answer{Service: recording.Neighbour, Intended: at, Latency: latency * 1e6, OK: ok}
	}
	trials := []Trial{{Calm: 100, Onset: 200, End: 300}, {Calm: 400, Onset: 500, End: 600}}
	Hear(trials, []recording.Answer{
		answer(99, 900, false), answer(100, 10, true), answer(199, 20, true),
		answer(200, 30, true), answer(299, 1000, false), answer(300, 900, false),
		answer(450, 10, true), // nothing after its onset
	})
	assert.Equal(t, &Neighbour{CalmP99: 20, FaultP99: 1000, CalmAnswered: 1, FaultAnswered: 0.5}, trials[0].Neighbour)
	assert.Nil(t, trials[1].Neighbour)
}

func TestTheNeighbourIsHeardOnceContainmentHasShown(t *testing.T) {
	const s = int64(time.Second)
	answer := func(at float64, latency int64, ok bool) recording.Answer {
		return recording.Answer{Service: recording.Neighbour, Intended: int64(at * 1e9), Latency: latency * 1e6, OK: ok}
	}
	trials := []Trial{{Calm: s, Onset: 10 * s, Contained: 14 * s, End: 20 * s}, {Calm: s, Onset: 10 * s, End: 20 * s}}
	Hear(trials, []recording.Answer{
		answer(2, 10, true), answer(11, 1000, false), answer(13.9, 50, true),
		answer(15, 900, true), // too soon
		answer(16, 20, true), answer(19.9, 30, true),
	})
	assert.Equal(t, &Fare{P99: 1000, Answered: 0.5}, trials[0].Neighbour.Loose)
	assert.Equal(t, &Fare{P99: 30, Answered: 1}, trials[0].Neighbour.Held)
	assert.Nil(t, trials[1].Neighbour.Held, "nothing was contained")
}

func TestAFloodCountsAsContainedWhereTheNeighbourIsBetterOff(t *testing.T) {
	flood := []Scenario{{Name: "ingress", About: "a flood", Knobs: []string{"network.shield"}, Required: true, Relieves: true}}
	for name, c := range map[string]struct {
		held      *Fare
		contained int
	}{
		"as before":           {&Fare{P99: 20, Answered: 1}, 1},
		"slower, but answers": {&Fare{P99: 39, Answered: 0.96}, 1},
		"no slower than while nothing was contained": {&Fare{P99: 90, Answered: 1}, 1},
		"slower than ever":                           {&Fare{P99: 101, Answered: 1}, 0},
		"not answered":                               {&Fare{P99: 20, Answered: 0.9}, 0},
		"nobody knows":                               {nil, 0},
	} {
		trial := after("ingress", 3)
		trial.Neighbour = &Neighbour{CalmP99: 20, CalmAnswered: 1, FaultP99: 100, FaultAnswered: 0.5, Loose: &Fare{P99: 100, Answered: 0.5}, Held: c.held}
		r := Analyse(flood, []Trial{trial}, nil)
		assert.Equal(t, c.contained, r.Scenarios[0].Contained, name)
		assert.Equal(t, c.contained == 1, r.Passed, name)
		if c.held != nil {
			assert.Contains(t, r.Markdown(), fmt.Sprintf("20 → 100 ms, held %.0f ms", c.held.P99), name)
		}
	}
}

func TestEventsAreReadAmongOtherLines(t *testing.T) {
	e, ok := ParseEvent([]byte(`{"containment":"note","text":"a"}`))
	assert.True(t, ok)
	assert.Equal(t, Event{Kind: EventNote, Text: "a"}, e)
	for _, line := range []string{"", "[   1.0] kernel", "{", `{"kind":"note"}`} {
		_, ok := ParseEvent([]byte(line))
		assert.False(t, ok, line)
	}
}

func TestTheCrashMatrixCounts(t *testing.T) {
	r := Analyse(nil, nil, nil)
	require.True(t, r.Passed)
	r.Crashed(&Crash{Steps: 10_000, Kills: 40, Missed: 1})
	assert.True(t, r.Passed)
	assert.Contains(t, r.Markdown(), "10000 simulated steps and 40 kills in a virtual machine (1 steps not reached): 0 violations")
	missed := Analyse(nil, nil, nil)
	missed.Crashed(&Crash{Steps: 10_000, Kills: 40, Missed: 5})
	assert.Equal(t, []string{"crash matrix: 5 steps of 40 kills were not reached"}, missed.Broken)
	assert.False(t, missed.Passed)
	r.Crashed(&Crash{Steps: 10_000, Kills: 40, Violations: 2})
	assert.False(t, r.Passed)
	assert.Equal(t, []string{"crash matrix: 2 violations in 10000 simulated steps and 40 kills"}, r.Broken)
}
