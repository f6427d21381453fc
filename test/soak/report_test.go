// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// concluded is a report in which everything went well, but for what change does.
func concluded(change func(*Report)) *Report {
	r := newReport()
	r.recorded.add(&Tally{Time: 3 * time.Hour, Reached: [maxLevels]int{1: 4}})
	r.recombined.add(&Tally{Time: 100 * time.Hour, Seams: 2, Jumps: []float64{3, 1}})
	for _, f := range Faults() {
		for range 10 {
			r.trial(f, &Trial{Fault: f.Name, Seen: time.Second, Contained: 2 * time.Second})
		}
	}
	change(r)
	r.conclude(time.Minute)
	return r
}

func TestWhatFailsASoak(t *testing.T) {
	promised := Faults()[0]
	for want, change := range map[string]func(*Report){
		"": func(r *Report) {
			r.recombined.add(&Tally{Reached: [maxLevels]int{2: 1}, Incidents: []Incident{{At: beginning - 1}}}) // told, not a failure
			r.trial(Fault{}, nil)
		},
		"level 2 or a lease 1 times": func(r *Report) { r.recorded.add(&Tally{Reached: [maxLevels]int{2: 1}}) },
		"level 2 or a lease 2 times": func(r *Report) { r.recorded.add(&Tally{Incidents: []Incident{{}, {}}}) },
		"recombined: 1 leases after the first 10m0s": func(r *Report) {
			r.recombined.add(&Tally{Incidents: []Incident{{At: beginning}, {}}})
		},
		"8 of 10 runs contained": func(r *Report) {
			for k := range 2 {
				r.faults[promised.Name][k].Contained = -1
			}
		},
		"for 8 % of its time too many ticks are missing": func(r *Report) {
			r.recording(machine(1, 100))
			r.replayed(&Tally{Time: 10 * time.Second, Blind: 800 * time.Millisecond})
		},
		"no run": func(r *Report) { delete(r.faults, promised.Name) },
	} {
		r := concluded(change)
		assert.Equal(t, want == "", r.Passed, "%q: %v", want, r.Failures)
		if want != "" {
			require.Len(t, r.Failures, 1)
			assert.Contains(t, r.Failures[0], want)
		}
	}
}

func TestTheFiguresOfASoak(t *testing.T) {
	r := concluded(func(r *Report) {
		r.faults[Faults()[0].Name][9] = Trial{Seen: -1, Contained: -1, Declined: "margin", Spent: true}
		r.faults[Faults()[0].Name][8].Already = true
		for k := range 3 {
			r.recombined.add(&Tally{Incidents: []Incident{{Tape: "a", Path: "/x", Action: "memory.high", Recorded: time.Duration(k) * 20 * time.Second, Reason: "grows"}}})
		}
		r.recombined.add(&Tally{Reached: [maxLevels]int{2: 3}, AtSeams: [maxLevels]int{2: 1}})
	})
	require.True(t, r.Passed, r.Failures)
	assert.Equal(t, 3, r.Recombined.AtStart)
	assert.Equal(t, 4, r.Recorded.Levels[0].Rate.Count)
	assert.InDelta(t, 4*56, r.Recorded.Levels[0].Rate.Week, 0.01)
	assert.InDelta(t, 2.996*56, r.Recorded.Levels[1].Rate.Bound, 0.1)
	assert.Equal(t, 2, r.Recombined.Levels[1].Rate.Count, "what a seam may have done is apart")
	assert.Equal(t, 1, r.Recombined.Levels[1].AtSeams)
	assert.Equal(t, []float64{3, 3}, []float64{r.Recombined.JumpP50, r.Recombined.JumpMax})
	f := r.Faults[0]
	assert.Equal(t, []int{10, 9, 1, 9, 1}, []int{f.Runs, f.Seen, f.Already, f.Contained, f.Spent})
	assert.Equal(t, map[string]int{"margin": 1}, f.Declined)
	assert.Equal(t, Delays{2, 2, 2}, f.ContainS)
	assert.InDelta(t, 103*60, r.Speed, 1)

	var table bytes.Buffer
	r.Table(&table)
	assert.Equal(t, 1, strings.Count(table.String(), "memory.high of /x, 3 ×"), "once for all three:\n%s", table.String())
	path, err := r.Write(t.TempDir())
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var back Report
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Len(t, back.Recombined.Incidents, 3)
}

func TestDelaysAreQuantilesByNearestRank(t *testing.T) {
	var d []time.Duration
	for i := 100; i > 0; i-- {
		d = append(d, time.Duration(i)*time.Second)
	}
	assert.Equal(t, Delays{50, 95, 100}, delays(d))
	assert.Equal(t, Delays{1, 1, 1}, delays(d[:1]))
	assert.Zero(t, delays(nil))
}
