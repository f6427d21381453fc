// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package telemetry

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// The fixture's clock starts here; its instants are seconds after.
const zero = int64(1e18)

func at(seconds float64) int64 { return zero + int64(seconds*1e9) }

var (
	contained = strings.Repeat("ab", 16) // the episode with an action
	passing   = strings.Repeat("cd", 16) // an episode that only opened
)

func TestTheStoryIsRead(t *testing.T) {
	s, err := Read(copyRun(t))
	require.NoError(t, err)

	assert.Equal(t, []LevelChange{
		{at(10), 1, 0, "watchfulness", "D_M 41 is above its limit of 9", contained},
		{at(10.2), 2, 1, "containment", "payment.service exhausts its memory in 16 s", contained},
	}, s.Levels, "in order of time")
	assert.Equal(t, []Action{
		{at(10.25), "memory.high", "granted", "/payment.service", 1_340_000_000, "grows by 50 MB/s", contained, 0.003},
		{at(15.25), "memory.high", "held", "/payment.service", 1_370_000_000, "", contained, 0},
	}, s.Actions, "a delivery that came twice counts once")

	require.Len(t, s.Scores, 3, "the score of a cgroup is not the node's")
	assert.Equal(t, Score{at(1), 2.5, 9}, s.Scores[0])
	assert.Equal(t, Score{at(2), 41.5, 9}, s.Scores[1])
	assert.Equal(t, 80.0, s.Scores[2].Distance)
	assert.True(t, math.IsNaN(s.Scores[2].Limit), "what was not told is absent")
}

func TestAnEpisodeIsCountedInEachSignal(t *testing.T) {
	s, err := Read(copyRun(t))
	require.NoError(t, err)
	assert.Equal(t, map[string]Counts{
		contained: {Logs: 5, Metrics: 3, Spans: 3},
		// Its only span has no root: pieces are no trace.
		passing: {Logs: 1},
	}, s.Episodes)
	assert.Equal(t, Counts{Logs: 8, Metrics: 11, Spans: 5}, s.Total, "everything exported, repetitions too")
}

func TestTheContainmentIsThatOfTheCgroupAfterTheOnset(t *testing.T) {
	s, err := Read(copyRun(t))
	require.NoError(t, err)
	a, ok := s.Contained("payment.service", at(10))
	require.True(t, ok)
	assert.Equal(t, at(10.25), a.Time)
	_, ok = s.Contained("payment.service", at(11))
	assert.False(t, ok, "holding what was granted before is no new containment")
	_, ok = s.Contained("neighbour.service", at(10))
	assert.False(t, ok)
}

func TestALineCutOffAtTheEndIsLeftOut(t *testing.T) {
	dir := copyRun(t)
	logs := filepath.Join(dir, recording.LogsFile)
	b, err := os.ReadFile(logs)
	require.NoError(t, err)
	lines := bytes.SplitAfter(b, []byte("\n"))

	require.NoError(t, os.WriteFile(logs, b[:len(b)-len(lines[3])/2-1], 0o600))
	s, err := Read(dir)
	require.NoError(t, err)
	assert.Len(t, s.Actions, 1)

	lines[1] = []byte("{\"resourceLogs\":[{\n")
	require.NoError(t, os.WriteFile(logs, bytes.Join(lines, nil), 0o600))
	_, err = Read(dir)
	assert.ErrorContains(t, err, "logs.jsonl: line 2", "damage in the middle is no cut")
}

func TestASignalThatIsMissingLeavesTheOthers(t *testing.T) {
	dir := copyRun(t)
	require.NoError(t, os.Remove(filepath.Join(dir, recording.MetricsFile)))
	s, err := Read(dir)
	require.NoError(t, err)
	assert.Len(t, s.Levels, 2)
	assert.Equal(t, Counts{Logs: 5, Spans: 3}, s.Episodes[contained])
}

func TestAMessageCutOffAtTheEndIsLeftOut(t *testing.T) {
	dir := copyRun(t)
	metrics := filepath.Join(dir, recording.MetricsFile)
	b, err := os.ReadFile(metrics)
	require.NoError(t, err)
	whole, err := Read(dir)
	require.NoError(t, err)
	for _, cut := range []int{1, 20} {
		require.NoError(t, os.WriteFile(metrics, b[:len(b)-cut], 0o600))
		s, err := Read(dir)
		require.NoError(t, err)
		assert.Less(t, s.Total.Metrics, whole.Total.Metrics)
		assert.Positive(t, s.Total.Metrics)
	}
	for at, damage := range map[int]byte{0: 0xff, 4: 0xff} { // a length, a message
		broken := bytes.Clone(b)
		broken[at] = damage
		require.NoError(t, os.WriteFile(metrics, broken, 0o600))
		_, err = Read(dir)
		assert.ErrorContains(t, err, "metrics.otlp: message 1")
	}
}

// copyRun copies the fixture. Its metrics are text there, for people.
func copyRun(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/run")))
	text, err := os.ReadFile("testdata/run/otlp/metrics.jsonl")
	require.NoError(t, err)
	var messages []byte
	for line := range bytes.Lines(text) {
		m, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(line)
		require.NoError(t, err)
		message, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(m)
		require.NoError(t, err)
		messages = append(binary.BigEndian.AppendUint32(messages, uint32(len(message))), message...)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, recording.MetricsFile), messages, 0o600))
	return dir
}
