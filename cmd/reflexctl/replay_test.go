// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/replay"
)

// jumping jumps in its last quarter.
func jumping(rows int) string {
	var b strings.Builder
	b.WriteString("t,cpu,memory,host,label\n")
	for i := range rows {
		label, memory := 0, 50+(i*7919)%13
		if i >= rows*3/4 {
			label, memory = 1, memory+5000
		}
		fmt.Fprintf(&b, "%d,%d,%d,web,%d\n", i, (i*104729)%11, memory, label)
	}
	return b.String()
}

// runReplay runs the command line with standard input, output and error apart.
func runReplay(t *testing.T, stdin io.Reader, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, problems bytes.Buffer
	c := command()
	c.SetIn(stdin)
	c.SetOut(&out)
	c.SetErr(&problems)
	c.SetArgs(append([]string{"replay"}, args...))
	err = c.ExecuteContext(t.Context())
	return out.String(), problems.String(), err
}

func TestReplayWritesRowsAndASummary(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "host.csv")
	require.NoError(t, os.WriteFile(path, []byte(jumping(400)), 0o600))
	rows, summary, err := runReplay(t, nil, path, "--warmup", "100")
	require.NoError(t, err)
	assert.Equal(t, 401, strings.Count(rows, "\n"))
	assert.Regexp(t, `(?m)^rows +400 in `, summary)
	assert.Regexp(t, `(?m)^interval +1s$`, summary)
	assert.Regexp(t, `(?m)^period +1s$`, summary)
	assert.Regexp(t, `(?m)^stream +400 rows over 6m39s, 2 dimensions$`, summary)
	assert.Regexp(t, `(?m)^episodes +\d+ \(\d+ anomalous rows\); the first at 300, 5m0s after the beginning, for .*, by the chart (sudden|steady|drift|spread|lasting|repeated)$`, summary)
	assert.Regexp(t, `(?m)^learned +\d+ decisions, worth \d+ independent ones \(autocorrelation -?[\d.]+, shrinkage [\d.]+\)$`, summary)
	assert.Regexp(t, `(?m)^limit +extrapolated: .*, \d+m?\w* of healthy time$`, summary)
	assert.Regexp(t, `(?m)^audit +robust covariance differs by a factor of [\d.]+ in the typical direction$`, summary)
	assert.Regexp(t, `(?m)^skipped +host: text$`, summary)

	rows2, summary, err := runReplay(t, strings.NewReader(jumping(400)), "-", "--warmup", "100s", "--quiet")
	require.NoError(t, err)
	assert.Equal(t, rows, rows2, "standard input")
	assert.Empty(t, summary)
}

func TestReplayWritesFiles(t *testing.T) {
	folder := t.TempDir()
	out, page := filepath.Join(folder, "out.csv.gz"), filepath.Join(folder, "out.html")
	rows, _, err := runReplay(t, strings.NewReader(jumping(400)), "-", "--output", out, "--plot", page)
	require.NoError(t, err)
	assert.Empty(t, rows)
	file, err := os.Open(out)
	require.NoError(t, err)
	defer file.Close()
	plain, err := gzip.NewReader(file)
	require.NoError(t, err)
	content, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.Equal(t, 401, strings.Count(string(content), "\n"))
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Contains(t, string(html), "<!doctype html>")

	for _, bad := range []string{"t,a\n1,2\n1\n", ""} {
		failed, plot := filepath.Join(folder, "failed.csv"), filepath.Join(folder, "failed.html")
		_, _, err = runReplay(t, strings.NewReader(bad), "-", "-o", failed, "--plot", plot)
		require.Error(t, err)
		assert.NoFileExists(t, failed)
		assert.NoFileExists(t, plot)
	}
	left, err := os.ReadDir(folder)
	require.NoError(t, err)
	assert.Len(t, left, 2, "no temporary file stays")
}

func TestReplayRefusesWhatItCannotDo(t *testing.T) {
	for want, args := range map[string][]string{
		"accepts 1 arg":           {},
		"neither a duration":      {"-", "--warmup", "soon"},
		"interval: must be":       {"-", "--interval", "-1s"},
		"slow-half-life: must be": {"-", "--slow-half-life", "-1s"},
		"is shorter than":         {"-", "--half-life", "2h", "--slow-half-life", "1h"},
		`trend: "guess" is not`:   {"-", "--trend", "guess"},
		"no such file":            {filepath.Join(t.TempDir(), "none.csv")},
		`"disk" is no column`:     {"-", "--dimensions", "disk"},
		"an entry is empty":       {"-", "--dimensions", ",cpu"},
		`has no column "when"`:    {"-", "--time", "when"},
		"write /nowhere/at/all/x": {"-", "--output", "/nowhere/at/all/x"},
	} {
		_, _, err := runReplay(t, strings.NewReader(jumping(10)), args...)
		require.ErrorContains(t, err, want)
		assert.Equal(t, exitFailed, exitCode(err))
	}
}

func TestReplayEndsWhenInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	out := filepath.Join(t.TempDir(), "out.csv")
	c := command()
	c.SetIn(r)
	c.SetOut(io.Discard)
	c.SetErr(io.Discard)
	c.SetArgs([]string{"replay", "-", "-o", out})
	go func() {
		_, _ = io.WriteString(w, jumping(400))
		cancel()
	}()
	err := c.ExecuteContext(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "interrupted after")
	left, err := os.ReadDir(filepath.Dir(out))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestAProgressBarFitsItsTerminal(t *testing.T) {
	in, err := replay.NewInput(t.Context(), "x", strings.NewReader(strings.Repeat("x", 600)))
	require.NoError(t, err)
	defer in.Close()
	_, err = io.ReadAll(in)
	require.NoError(t, err)
	p := &progress{in: in, width: 80}
	assert.Equal(t, "7 rows", p.text(7, time.Second), "of a pipe nobody knows the size")
	in.Size = 1200
	text := p.text(1000, 4*time.Second)
	assert.Contains(t, text, " 50 %  1000 rows, 4s left")
	assert.LessOrEqual(t, len([]rune(text)), 80)
	p.width = 20
	assert.NotContains(t, p.text(1000, time.Second), "[")
	assert.Nil(t, newProgress(&bytes.Buffer{}, in))

	var drawn bytes.Buffer
	p = &progress{to: &drawn, in: in, width: 80, drawn: time.Now()}
	p.draw(1)
	assert.Empty(t, drawn.String(), "not too often")
	p.drawn = time.Now().Add(-time.Second)
	p.draw(2)
	assert.Contains(t, drawn.String(), "2 rows")
}
