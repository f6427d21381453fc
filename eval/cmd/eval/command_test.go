// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/eval/internal/detector"
)

// folder is somebody's own data: 300 rows of three metrics, one interval.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString("time,cpu,memory,requests,label\n")
	for i := range 300 {
		label, jump := 0, 0.0
		if i >= 200 && i < 220 {
			label, jump = 1, 40
		}
		fmt.Fprintf(&b, "%d,%g,%g,%g,%d\n", 1700000000+5*i, 20+random.NormFloat64()+jump, 1e9+1e7*random.NormFloat64(), 100+10*random.NormFloat64()-jump, label)
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "shop"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop", "monday.csv"), []byte(b.String()), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "shop", "faults.csv"), []byte("what,when\ndisk,noon\n"), 0o600))
	return dir
}

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	c := command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(args)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestReport(t *testing.T) {
	out := t.TempDir()
	text, err := execute(t, "--data", folder(t), "--output", out, "--scores", filepath.Join(out, "scores"))
	require.NoError(t, err)
	raw, err := os.ReadFile(filepath.Join(out, "report.json"))
	require.NoError(t, err)
	var report struct {
		Protocol  map[string]any
		Detectors []map[string]any
		Datasets  []struct {
			Name        string
			Files, Rows int
			Detectors   []map[string]any
		}
		Files []struct {
			Dataset, Name string
			Detectors     []map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(raw, &report))
	assert.Equal(t, "none", report.Protocol["point_adjustment"])
	require.Len(t, report.Datasets, 1)
	assert.Equal(t, "shop", report.Datasets[0].Name)
	assert.Equal(t, 300, report.Datasets[0].Rows)
	assert.Equal(t, 1, report.Datasets[0].Files, "the file without labels is left out")
	require.Len(t, report.Files, 1)
	assert.Equal(t, "monday", report.Files[0].Name)
	for _, detectors := range [][]map[string]any{report.Detectors, report.Datasets[0].Detectors, report.Files[0].Detectors} {
		require.Len(t, detectors, len(detector.All()))
		assert.Equal(t, "reflex", detectors[0]["name"])
		for _, d := range detectors {
			for _, key := range []string{"name", "online", "auc_pr", "vus_pr", "delay_s", "episodes_per_node_week", "detected", "alarmed_share"} {
				assert.Contains(t, d, key, d["name"])
			}
		}
	}
	for _, d := range report.Datasets[0].Detectors {
		assert.Contains(t, d, "at_equal_episodes")
		assert.Contains(t, text, d["name"])
	}
	assert.Contains(t, text, "skipped: read recording faults of shop")

	scores, err := os.ReadFile(filepath.Join(out, "scores", "shop", "monday.csv"))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(scores)), "\n")
	assert.True(t, strings.HasPrefix(lines[0], "t,label,reflex,reflex.alarm,maha-online,"))
	assert.Len(t, lines, 1+300-60)
}

func TestFilters(t *testing.T) {
	data, out := folder(t), t.TempDir()
	text, err := execute(t, "--data", data, "--output", out, "--detectors", "maxz-static", "--datasets", "shop", "--file", "mon")
	require.NoError(t, err)
	assert.Contains(t, text, "maxz-static")
	assert.NotContains(t, text, "maha-online")
	for _, c := range []struct {
		want string
		args []string
	}{
		{`no detector is called "magic"`, []string{"--detectors", "magic"}},
		{"that the filters let through", []string{"--datasets", "none"}},
		{"no labelled recording", []string{"--file", "faults"}},
	} {
		_, err := execute(t, append([]string{"--data", data, "--output", out}, c.args...)...)
		assert.ErrorContains(t, err, c.want)
	}
	_, err = execute(t)
	assert.ErrorContains(t, err, "data")
	_, err = execute(t, "--data", filepath.Join(data, "missing"))
	assert.ErrorContains(t, err, "missing")
}
