// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

func TestAKnobHoldsANumberOrMax(t *testing.T) {
	for text, want := range map[string]uint64{
		"max\n": recording.Unlimited, "0\n": 0, "1310720\n": 1310720, "9223372036854771712\n": recording.Unlimited,
	} {
		got, err := parseNumber([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
	_, err := parseNumber([]byte("many"))
	assert.Error(t, err)
}

func TestEventsOfACgroupAreReadByName(t *testing.T) {
	c := cgroup{t.TempDir()}
	text := "low 0\nhigh 12\nmax 3\noom 1\noom_kill 4\noom_group_kill 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, "memory.events"), []byte(text), 0o600))
	got, err := c.event("oom_kill")
	require.NoError(t, err)
	assert.Equal(t, uint64(4), got)
	_, err = c.event("kill")
	assert.ErrorContains(t, err, "has no kill")
}

// A directory that is no cgroup has no knobs, and writing must not make them.
func TestOnlyKnobsMarkedOptionalMayBeMissing(t *testing.T) {
	parent := t.TempDir()
	c, err := newCgroup(parent, "a", [2]string{"memory.swap.max?", "0"})
	require.NoError(t, err)
	entries, err := os.ReadDir(c.dir)
	require.NoError(t, err)
	assert.Empty(t, entries)

	_, err = newCgroup(parent, "b", [2]string{"memory.max", "0"})
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.NoDirExists(t, filepath.Join(parent, "b"), "what could not be set up is removed")
}

func TestACgroupIsRemovedWithThoseBelowIt(t *testing.T) {
	c := cgroup{filepath.Join(t.TempDir(), "guard")}
	require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "supervisor", "deep"), 0o700))
	require.NoError(t, c.remove())
	assert.NoDirExists(t, c.dir)
	require.NoError(t, c.remove(), "what is gone is removed")
}

func TestReflexIsReadyWhenItCanAct(t *testing.T) {
	const (
		acting  = `{"mode":{"requested":"enforce","effective":"enforce"},"level":1,"input":{"sequence":7,"judge":"mahalanobis"},"judgement":{"distance":3.5,"limit":9},"missing":[]}`
		guarded = `{"mode":{"requested":"enforce","effective":"observe"},"problem":"the guard does not answer","input":{"sequence":7,"judge":"m"},"missing":[{"name":"reflexguard","cause":"connection refused"}]}`
		silent  = `{"mode":{"effective":"enforce"},"input":{"sequence":0,"judge":"m"}}`
		unheard = `{"mode":{"effective":"enforce"},"input":{"sequence":7}}`
	)
	read := func(text string) *status {
		var s status
		require.NoError(t, json.Unmarshal([]byte(text), &s))
		return &s
	}
	s := read(acting)
	require.NoError(t, s.ready())
	distance, limit, ok := s.score()
	assert.Equal(t, []any{3.5, 9.0, true}, []any{distance, limit, ok})

	assert.EqualError(t, read(guarded).ready(), `the collector is in mode "observe": reflexguard (connection refused); the guard does not answer`)
	assert.ErrorContains(t, read(silent).ready(), "no sample")
	assert.ErrorContains(t, read(unheard).ready(), "nobody judges")
	_, _, ok = read(unheard).score()
	assert.False(t, ok, "no judgement is not a score of zero")
}

func TestTheDefaultLeavesAnUnprotectedServiceSeconds(t *testing.T) {
	s := Default()
	s.Base, s.Out, s.Guest = "/a", "/b", "/c"
	require.NoError(t, s.Check())
	life := float64(s.Limit) * (1 - s.Resident) / float64(s.LeakRate)
	assert.InDelta(t, 16.75, life, 0.1)

	s.Resident, s.Leak = 1, 0
	err := s.Check()
	assert.ErrorContains(t, err, "resident")
	assert.ErrorContains(t, err, "leak")
}

func TestTheConfigurationActsAndTellsInThreeSignals(t *testing.T) {
	for _, text := range []string{
		"mode: enforce", "startup_grace: 30s", "guard: ${env:DEMO_GUARD}",
		"/" + recording.MetricsFile, "/" + recording.LogsFile, "/" + recording.TracesFile,
	} {
		assert.Equal(t, 1, strings.Count(Config, text), text)
	}
}
