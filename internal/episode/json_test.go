// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package episode

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func full() Record {
	r := Record{
		ID: 3, Kind: Action, Time: time.Date(2026, 3, 1, 2, 0, 0, 250e6, time.UTC),
		Episode: ID{0: 0xab, 15: 1}, Source: "ebpf", Sequence: 42, Level: 2, Previous: 1,
		Reason: "memory of /payment is gone in 21 s",
		Judgement: arc.Judgement{
			Sequence: 42, Ready: true, Anomalous: true, Distance: 9.5, Score: 9.5, Limit: 4,
			Velocity: 2, Acceleration: 0.5, NumContributions: 1, Confidence: 1,
		},
		Cgroup:  Cgroup{ID: 77, Path: "/payment"},
		Order:   &arc.Order{Cgroup: 77, Action: arc.ActionMemoryHigh, Parameter: 64 << 20, TTL: int64(15 * time.Second), Generation: 1, Scheduled: 1000},
		Outcome: &arc.Outcome{Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: 64 << 20, Written: 251000, Deadline: 15e9},
		Harm:    Harm{Kind: "cgroup_limit", Unit: "By", Stall: 0.25, Available: 100 << 20, Limit: 128 << 20, Growth: 50e6, Exhaustion: 2 * time.Second},
		Onset:   500, Scheduled: 1000, Written: 251000,
	}
	r.Judgement.Contributions[0] = arc.Contribution{Dimension: "system.memory.used", Share: 80, Value: 5e8, Usual: 1e8}
	return r
}

func TestTheJSONOfARecordIsStable(t *testing.T) {
	got, err := json.MarshalIndent(full(), "", " ")
	require.NoError(t, err)
	assert.JSONEq(t, `{
 "id": 3, "kind": "action", "time": "2026-03-01T02:00:00.25Z",
 "episode": "ab000000000000000000000000000001", "source": "ebpf", "sequence": 42,
 "level": "containment", "previous": "watchfulness", "reason": "memory of /payment is gone in 21 s",
 "judgement": {"sequence": 42, "decided_ns": 0, "ready": true, "fresh": false, "anomalous": true, "frozen": false,
  "distance": 9.5, "score": 9.5, "limit": 4, "velocity": 2, "acceleration": 0.5, "direction": 0, "regime": 0, "confidence": 1,
  "contributions": [{"dimension": "system.memory.used", "share": 80, "value": 500000000, "usual": 100000000}]},
 "cgroup": {"id": 77, "path": "/payment"},
 "order": {"cgroup": 77, "action": "memory.high", "verb": "hold", "observe": false, "parameter": 67108864, "ttl": 15, "generation": 1, "scheduled_ns": 1000},
 "outcome": {"verdict": "granted", "original": "max", "value": 67108864, "written_ns": 251000, "deadline_ns": 15000000000},
 "harm": {"kind": "cgroup_limit", "unit": "By", "available": 104857600, "limit": 134217728, "growth": 50000000, "exhaustion": 2, "stall": 0.25},
 "onset_ns": 500, "scheduled_ns": 1000, "written_ns": 251000, "tick_to_knob": 0.00025}`, string(got))
}

func TestARecordOfLittleIsShort(t *testing.T) {
	got, err := json.Marshal(Record{ID: 1, Kind: Closed, Time: time.Unix(0, 0).UTC()})
	require.NoError(t, err)
	assert.JSONEq(t, `{"id":1,"kind":"closed","time":"1970-01-01T00:00:00Z",
		"episode":"00000000000000000000000000000000","level":"normal","previous":"normal"}`, string(got))
}

func TestNumbersThatAreNotFiniteAreNull(t *testing.T) {
	r := full()
	r.Judgement.Distance, r.Judgement.Velocity = math.NaN(), math.Inf(1)
	r.Judgement.Contributions[0].Share = math.Inf(-1)
	r.Harm.Growth = math.Inf(1)
	data, err := json.Marshal(r)
	require.NoError(t, err)
	var back Record
	require.NoError(t, json.Unmarshal(data, &back))
	assert.True(t, math.IsNaN(back.Judgement.Distance))
	assert.True(t, math.IsNaN(back.Harm.Growth))
	assert.Contains(t, string(data), `"velocity":null`)
	assert.Contains(t, string(data), `"share":null`)
}

func TestUnknownNamesAreRefusedByName(t *testing.T) {
	for name, text := range map[string]string{
		`kind "born" is not known`:                  `{"id":9,"kind":"born","level":"normal","previous":"normal"}`,
		`level "rage" is not known`:                 `{"id":9,"kind":"opened","level":"rage","previous":"normal"}`,
		`episode "zz" is not 32 hexadecimal digits`: `{"id":9,"kind":"opened","level":"normal","previous":"normal","episode":"zz"}`,
		`action "rm" is not known`:                  `{"id":9,"kind":"opened","level":"normal","previous":"normal","order":{"action":"rm"}}`,
		`verdict "maybe" is not known`:              `{"id":9,"kind":"opened","level":"normal","previous":"normal","outcome":{"verdict":"maybe"}}`,
	} {
		var r Record
		err := json.Unmarshal([]byte(text), &r)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "record 9")
	}
}

func TestAnyRecordSurvivesJSON(t *testing.T) {
	finite := rapid.Float64Range(-1e300, 1e300)
	rapid.Check(t, func(t *rapid.T) {
		r := full()
		r.ID = rapid.Uint64().Draw(t, "id")
		r.Kind = Kind(rapid.IntRange(0, int(numKinds)-1).Draw(t, "kind"))
		r.Time = time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		r.Level = rapid.IntRange(0, 5).Draw(t, "level")
		r.Reason = rapid.String().Draw(t, "reason")
		r.Judgement.Score = finite.Draw(t, "score")
		r.Judgement.NumContributions = rapid.IntRange(0, arc.MaxContributions).Draw(t, "contributions")
		r.Judgement.Contributions = [arc.MaxContributions]arc.Contribution{}
		for i := range r.Judgement.NumContributions {
			r.Judgement.Contributions[i] = arc.Contribution{Dimension: rapid.String().Draw(t, "dimension"), Share: finite.Draw(t, "share")}
		}
		r.Order.Verb = arc.Verb(rapid.IntRange(0, 1).Draw(t, "verb"))
		r.Order.Device = rapid.Uint64().Draw(t, "device")
		r.Order.Interface = rapid.Uint32().Draw(t, "interface")
		r.Order.Parameter = rapid.Uint64Range(0, arc.Unlimited).Draw(t, "parameter")
		r.Outcome.Verdict = arc.Verdict(rapid.IntRange(0, 7).Draw(t, "verdict"))
		r.Harm.Exhaustion = time.Duration(rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "exhaustion"))
		if rapid.Bool().Draw(t, "no action") {
			r.Order, r.Outcome = nil, nil
		}
		data, err := json.Marshal(r)
		require.NoError(t, err)
		var back Record
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, r, back)
	})
}
