// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
	"github.com/otelcol-reflex/reflex/eval/internal/recording"
)

// echo scores a row by its first metric and alarms above a limit; it writes
// down what it was shown.
type echo struct {
	limit  float64
	prefix int
	seen   []float64
}

func (e *echo) Fit(rows []recording.Row) { e.prefix = len(rows) }

func (e *echo) Score(row recording.Row) (float64, bool) {
	e.seen = append(e.seen, row.Filled[0])
	return row.Filled[0], row.Filled[0] > e.limit
}

func echoes(name string, limit float64, made *[]*echo) detector.Entry {
	return detector.Entry{Name: name, New: func(detector.Setting) detector.Detector {
		e := &echo{limit: limit}
		if made != nil {
			*made = append(*made, e)
		}
		return e
	}}
}

// write writes recordings of a metric a second apart; a metric in brackets is labelled.
func write(t *testing.T, dir, set, name, split, text string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("t,x,split,label\n")
	train := len(strings.Fields(split))
	for i, cell := range append(strings.Fields(split), strings.Fields(text)...) {
		bare := strings.Trim(cell, "[]")
		label := 0
		if bare != cell {
			label = 1
		}
		half := "test"
		if i < train {
			half = "train"
		}
		fmt.Fprintf(&b, "%d,%s,%s,%d\n", i*10, bare, half, label)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, set), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, set, name+".csv"), []byte(b.String()), 0o600))
}

func run(t *testing.T, dir string, detectors ...detector.Entry) []FileResult {
	t.Helper()
	files, err := recording.Find(dir)
	require.NoError(t, err)
	results, err := Run(context.Background(), Plan{Files: files, Detectors: detectors, Workers: 2})
	require.NoError(t, err)
	return results
}

func TestDetectorsSeeEveryRowOnceInOrder(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "one", "a", "1 2 3", "4 [50] 6 7")
	var made []*echo
	run(t, dir, echoes(detector.Ours, 10, &made))
	require.Len(t, made, 1)
	assert.Equal(t, 3, made[0].prefix)
	assert.Equal(t, []float64{4, 50, 6, 7}, made[0].seen)
}

func TestMeasures(t *testing.T) {
	dir := t.TempDir()
	// After the prefix: a false alarm, then far enough an interval whose second
	// row alarms, and one that goes unseen.
	write(t, dir, "one", "a", "1 1 1", "90 1 1 1 1 1 1 1 1 1 [1] [80] 1 1 1 1 1 1 1 [5] 1")
	m := run(t, dir, echoes(detector.Ours, 10, nil))[0].Measures[0]
	assert.Equal(t, 1, m.Tally.FalseEpisodes)
	assert.Equal(t, 2, m.Tally.Intervals)
	assert.Equal(t, 0.5, *m.Detected)
	assert.Equal(t, 10.0, *m.DelaySeconds)
	assert.InDelta(t, week/180, *m.EpisodesPerNodeWeek, 1e-9, "18 unlabelled rows of 10 s")
	assert.InDelta(t, 1.0/18, *m.AlarmedShare, 1e-12)
	// Thresholds 90, 80, 5, 1: ⅓·½ + ⅓·⅔ + ⅓·3/21.
	assert.InDelta(t, (0.5+2.0/3+3.0/21)/3, *m.AUCPR, 1e-12)
}

func TestARecordingWithoutLabelsCountsForEpisodesOnly(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "one", "clean", "1 1 1", "90 1 1 1")
	m := run(t, dir, echoes(detector.Ours, 10, nil))[0].Measures[0]
	assert.Nil(t, m.AUCPR)
	assert.Nil(t, m.VUSPR)
	assert.Nil(t, m.Detected)
	assert.Nil(t, m.DelaySeconds)
	assert.Equal(t, 1, m.Tally.FalseEpisodes)
}

func TestUnlabelledFilesAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "one", "a", "1 1 1", "1 [9] 1")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "one", "runs.csv"), []byte("name\nx\n"), 0o600))
	results := run(t, dir, echoes(detector.Ours, 5, nil))
	require.Len(t, results, 2)
	assert.ErrorIs(t, results[1].Err, recording.ErrUnlabelled)
	assert.Equal(t, 1, ByDataset(results, []detector.Entry{echoes(detector.Ours, 5, nil)})[0].Files)
}

func TestOverallIsTheMeanOverDatasets(t *testing.T) {
	dir := t.TempDir()
	entries := []detector.Entry{echoes(detector.Ours, 5, nil)}
	for k := range 3 { // detected
		write(t, dir, "many", strconv.Itoa(k), "1 1 1", "1 [9] 1 1")
	}
	write(t, dir, "one", "a", "1 1 1", "1 [2] 1 3") // not detected, AP ½
	sets := ByDataset(run(t, dir, entries...), entries)
	require.Len(t, sets, 2)
	assert.Equal(t, 3, sets[0].Files)
	assert.Equal(t, 1.0, *sets[0].Detectors[0].AUCPR)
	assert.Equal(t, 0.25, *sets[0].Positive)
	assert.Equal(t, 0.5, *sets[0].ClockAUCPR, "a falling clock meets the label second, a rising one third")
	overall := Overall(sets, entries)
	assert.Equal(t, 0.75, *overall[0].AUCPR)
	assert.Equal(t, 0.5, *overall[0].Detected)
	assert.Equal(t, 0.0, *overall[0].EpisodesPerNodeWeek)
}

func TestEqualEpisodes(t *testing.T) {
	dir := t.TempDir()
	// Above 0 every row alarms, in one episode that never ends: not to be taken
	// for a low rate. Normal rows of 1 and once 3, one false spike of 40, intervals of 30 and 8.
	write(t, dir, "one", "a", "1 1 1", "40 1 1 1 1 1 1 1 3 1 1 1 1 1 1 1 [30] 1 1 1 1 1 1 1 [8] 1 0")
	strict, lax, deaf := echoes(detector.Ours, 35, nil), echoes("lax", -1, nil), echoes("deaf", 1e9, nil)
	entries := []detector.Entry{strict, lax, deaf}
	set := ByDataset(run(t, dir, entries...), entries)[0]
	require.Equal(t, 1, set.Detectors[0].Tally.FalseEpisodes)
	assert.Equal(t, 0.0, *set.Detectors[0].Equal.Detected, "ours at its own limit")
	for _, m := range set.Detectors[1:] {
		assert.Equal(t, 1, m.Equal.Tally.FalseEpisodes, m.Name)
		assert.Equal(t, 1.0, *m.Equal.Detected, "%s finds both at the same false episodes", m.Name)
		assert.Equal(t, 3.0, *m.Equal.Threshold)
	}
	assert.Equal(t, 0, set.Detectors[1].Tally.FalseEpisodes, "an alarm that never ends is no false episode,")
	assert.Equal(t, 1.0, *set.Detectors[1].AlarmedShare, "but its share of time tells")
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Run(ctx, Plan{Files: []recording.File{{Path: "nowhere.csv"}}, Workers: 1})
	assert.ErrorIs(t, err, context.Canceled)
}
