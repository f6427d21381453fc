// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package containment

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/test/containment/fault"
)

// Every scenario of the table can be played: whole, with roles and knobs that
// exist, and beside all the others in one machine.
func TestTheTableCanBePlayed(t *testing.T) {
	names, units := map[string]bool{}, map[string]bool{}
	for i := range Scenarios {
		s := &Scenarios[i]
		require.NoError(t, s.Check())
		assert.False(t, names[s.Name], "two scenarios are called %s", s.Name)
		names[s.Name] = true
		for _, u := range s.Units {
			assert.False(t, units[u.Name], "two units are called %s", u.Name)
			units[u.Name] = true
			assert.True(t, strings.HasSuffix(u.Name, ".service"), u.Name)
			require.NotEmpty(t, u.Role, u.Name)
			assert.Contains(t, fault.Roles, u.Role[0], u.Name)
		}
		for _, k := range s.Knobs {
			_, action := arc.ParseAction(k)
			assert.True(t, action || contains(Knobs[:Turnable], k), "%s: nobody can turn %s", s.Name, k)
		}
	}
}

// A leak reaches its limit only after it was waited for: what is to be contained
// must not have been killed first.
func TestALeakOutlivesTheWait(t *testing.T) {
	for _, s := range Scenarios {
		for _, u := range s.Units {
			if u.Role[0] != "leak" {
				continue
			}
			resident, rate := limit(u.Role[2]), limit(u.Role[4])
			life := (limit(u.Limits[0][1]) - resident) / rate
			assert.GreaterOrEqual(t, life, s.Within.Seconds(), "%s: %s", s.Name, u.Name)
			if s.Required && !s.Swap {
				assert.LessOrEqual(t, life, 60., "%s: %s is no harm within the horizon", s.Name, u.Name)
			}
		}
	}
}

func contains(all []string, one string) bool {
	for _, a := range all {
		if a == one {
			return true
		}
	}
	return false
}

func TestAScenarioThatMakesNoSenseIsRefused(t *testing.T) {
	whole := Scenario{Name: "a", About: "b", Units: []Unit{{Name: "c.service", Guilty: true}}, Knobs: []string{"memory.high"}, Within: 1}
	require.NoError(t, whole.Check())
	outside := whole
	outside.Units = []Unit{{Name: "d.service", Elsewhere: true}}
	require.NoError(t, outside.Check(), "what comes from elsewhere has no guilty unit")
	for name, change := range map[string]func(*Scenario){
		"nobody guilty":                func(s *Scenario) { s.Units = []Unit{{Name: "c.service"}} },
		"guilty, but no knob":          func(s *Scenario) { s.Knobs = nil },
		"no time":                      func(s *Scenario) { s.Within = 0 },
		"no unit":                      func(s *Scenario) { s.Units = nil },
		"two that respawn":             func(s *Scenario) { s.Respawn, s.Units = true, append(s.Units, s.Units[0]) },
		"guilty here and elsewhere":    func(s *Scenario) { s.Units = append(s.Units, Unit{Name: "d.service", Elsewhere: true}) },
		"elsewhere, but no knob":       func(s *Scenario) { s.Units, s.Knobs = []Unit{{Name: "d.service", Elsewhere: true}}, nil },
		"relief of nobody":             func(s *Scenario) { s.Units, s.Knobs, s.Relieves = []Unit{{Name: "c.service"}}, nil, true },
		"false positives of a culprit": func(s *Scenario) { s.FalsePositives = true },
	} {
		s := whole
		change(&s)
		assert.Error(t, s.Check(), name)
	}
}

func TestScenariosAreChosenByName(t *testing.T) {
	all, err := Select(Scenarios, nil)
	require.NoError(t, err)
	assert.Len(t, all, len(Scenarios))
	some, err := Select(Scenarios, []string{"jvm", "leak"})
	require.NoError(t, err)
	assert.Equal(t, []string{"jvm", "leak"}, []string{some[0].Name, some[1].Name})
	_, err = Select(Scenarios, []string{"leek"})
	assert.ErrorContains(t, err, "leek")
}

// The files that are compared are those of the kernel: whatever it lets a cgroup be
// limited by must be in the list, here or on a newer one.
func TestNoLimitIsForgotten(t *testing.T) {
	for _, k := range Knobs[:Turnable] {
		assert.Contains(t, []string{"memory.high", "cpu.weight", "cpu.idle", "cpu.max", "io.weight", "io.max", "pids.max", "cgroup.freeze"}, k)
	}
	for a := arc.ActionNone + 1; a < arc.NumActions; a++ {
		name := strings.TrimSuffix(strings.TrimSuffix(a.String(), ".read"), ".write")
		if strings.HasPrefix(name, "network.") {
			continue
		}
		assert.Contains(t, Knobs[:Turnable], name, "an action turns %s and nobody watches it", name)
	}
}
