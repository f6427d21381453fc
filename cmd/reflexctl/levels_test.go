// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/extension/reflexextension"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/policy"
)

func TestTheLadderHoldsEveryActionAndEveryLevelOnce(t *testing.T) {
	seen := map[arc.Action]int{}
	levels := map[int]bool{}
	for i, r := range rungs {
		levels[r.Level] = true
		if r.Action != arc.ActionNone {
			seen[r.Action]++
		}
		if i > 0 {
			assert.GreaterOrEqual(t, r.Level, rungs[i-1].Level)
		}
	}
	for a := arc.ActionNone + 1; a < arc.NumActions; a++ {
		assert.Equal(t, 1, seen[a], a)
	}
	for level := 0; episode.LevelName(level) != "unknown"; level++ {
		assert.True(t, levels[level], level)
	}
}

func TestWhatThePolicyOrdersStandsOnTheLadderAtItsLevel(t *testing.T) {
	c := policy.DefaultConfig()
	require.NotEmpty(t, c.Ladder())
	for _, o := range c.Ladder() {
		assert.True(t, slices.ContainsFunc(rungs, func(r rung) bool {
			return r.Action == o.Action && r.Level == o.Level && (r.Resource == o.Resource || r.Resource == "any")
		}), "%s at level %d for %s", o.Action, o.Level, o.Resource)
	}
}

// enforcing is the status of a collector that enforces memory.high.
func enforcing() *status {
	s := &status{Level: 2, Ladder: []rungStatus{{Level: 2, Resource: "memory", Action: "memory.high"}}}
	s.Mode.Requested, s.Mode.Effective = "enforce", "enforce"
	return s
}

func able() *guard.Status { return &guard.Status{Actions: []string{"memory.high"}} }

func TestWhatWouldHappenAndWhyNotMore(t *testing.T) {
	for name, c := range map[string]struct {
		collector *status
		guard     *guard.Status
		change    func(s *status, g *guard.Status)
		effect    string
		cause     string
	}{
		"enforced":                  {enforcing(), able(), nil, "enforced", ""},
		"enforced, guard not asked": {enforcing(), nil, nil, "enforced", ""},
		"observed":                  {enforcing(), able(), func(s *status, _ *guard.Status) { s.Mode.Requested, s.Mode.Effective = "observe", "observe" }, "observed", ""},
		"enforcing in vain": {enforcing(), able(), func(s *status, _ *guard.Status) {
			s.Mode.Effective, s.Problem = "observe", "the guard does not answer"
		}, "observed", "the guard does not answer"},
		"left out": {enforcing(), able(), func(s *status, _ *guard.Status) {
			s.Ladder = slices.Clone(s.Ladder)
			for i := range s.Ladder {
				s.Ladder[i].Observed = true
			}
		}, "observed", "policy::enforce does not name memory"},
		"no collector":   {nil, able(), nil, "nothing", "no collector answers"},
		"not ordered":    {enforcing(), able(), func(s *status, _ *guard.Status) { s.Ladder = nil }, "nothing", "the policy does not order it, as configured or in this version"},
		"not able":       {enforcing(), able(), func(_ *status, g *guard.Status) { g.Actions = nil }, "nothing", "the guard cannot do it"},
		"lacking":        {enforcing(), able(), func(_ *status, g *guard.Status) { g.Requirements = []guard.Requirement{{Name: "CAP_SYS_ADMIN"}} }, "nothing", "the guard lacks CAP_SYS_ADMIN"},
		"kill switch on": {enforcing(), able(), func(_ *status, g *guard.Status) { g.KillSwitch.On = true }, "nothing", "the kill switch is on"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.collector, c.guard)
			}
			l := climb(c.collector, c.guard)
			i := slices.IndexFunc(l.Rungs, func(r rung) bool { return r.Word == "memory.high" })
			assert.Equal(t, c.effect, l.Rungs[i].Effect)
			assert.Equal(t, c.cause, l.Rungs[i].Cause)
			for _, r := range l.Rungs {
				if r.Word != "memory.high" {
					assert.Equal(t, "nothing", r.Effect, r.Word)
				}
			}
		})
	}
	assert.Empty(t, rungs[2].Word, "the ladder itself is not written to")
}

func TestTheLadderForPeopleAndPrograms(t *testing.T) {
	n := newNode(t).guard()
	s := busy()
	s.Mode.Effective = "enforce"
	s.Ladder = []reflexextension.RungStatus{{Level: 2, Resource: "memory", Action: "memory.high"}}
	endpoint := serve(t, &extension{journal: episode.NewJournal(4), status: s})
	text, err := run("levels", "--guard-socket", n.at("guard.sock"), "--endpoint", endpoint)
	require.NoError(t, err)
	assert.Regexp(t, `in force +2 containment`, text)
	assert.Regexp(t, `2 containment +memory +memory\.high +.* yes +yes +enforced`, text)
	assert.Regexp(t, `5 quarantine +network +network\.quarantine +.* no +(yes|no) +nothing: the policy does not order it`, text)
	assert.NotContains(t, text, "not asked")

	text, err = run("levels", "-o", "json", "--guard-socket", n.at("nobody.sock"), "--endpoint", "http://127.0.0.1:1")
	require.NoError(t, err)
	var l struct {
		Levels  []map[string]any
		Unasked []string
	}
	require.NoError(t, json.Unmarshal([]byte(text), &l))
	assert.Len(t, l.Levels, len(rungs))
	require.Len(t, l.Unasked, 2)
	assert.True(t, strings.HasPrefix(l.Unasked[1], "guard: "))
	assert.NotContains(t, l.Levels[2], "able", "nobody said so")
}
