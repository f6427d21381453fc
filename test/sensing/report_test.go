// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The names that others read in sensing.json.
func TestTheReportHasTheAgreedKeys(t *testing.T) {
	r := newReport(Machine{Kernel: "6.1"})
	r.Sweep = []Sweep{{Cgroups: 1000, EBPF: 0.2, Cgroupfs: 20}}
	r.Programs = []Program{{Name: "count_fork", NS: 50}}
	r.Rest = []Rest{{What: restReflex, Interval: 100, CPU: 0.5, RSS: 40}}
	r.Overhead = []Overhead{{Load: loadNetwork, Loss: 0.5}}
	r.Optional = []Optional{{"syscalls", Overhead{Load: loadSystemCall, Loss: 2, Shares: []Share{}}}}
	dir := filepath.Join(t.TempDir(), "made")
	require.NoError(t, r.Write(dir))
	text, err := os.ReadFile(filepath.Join(dir, DataFile))
	require.NoError(t, err)
	var got map[string][]map[string]any
	var all map[string]any
	require.NoError(t, json.Unmarshal(text, &all))
	delete(all, "machine")
	delete(all, "when")
	lists, err := json.Marshal(all)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(lists, &got))
	for part, want := range map[string]map[string]any{
		"sweep":    {"cgroups": 1000.0, "ebpf_ms": 0.2, "cgroupfs_ms": 20.0},
		"programs": {"name": "count_fork", "ns": 50.0},
		"rest":     {"what": "reflex", "interval_ms": 100.0, "cpu_percent": 0.5, "rss_mib": 40.0},
		"overhead": {"load": "network", "loss_percent": 0.5},
		"optional": {"option": "syscalls", "load": "system call", "loss_percent": 2.0},
	} {
		require.Len(t, got[part], 1, part)
		for key, value := range want {
			assert.Equal(t, value, got[part][0][key], "%s.%s", part, key)
		}
	}
	assert.FileExists(t, filepath.Join(dir, TextFile))
	again, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, r, again)
}

func TestAPartNotMeasuredIsAnEmptyList(t *testing.T) {
	text, err := json.Marshal(newReport(Machine{}))
	require.NoError(t, err)
	for _, part := range append(Parts, "budgets") {
		assert.Contains(t, string(text), "\""+part+"\":[]")
	}
}

func TestTablesReplaceWhatIsBetweenTheMarksAndNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	require.NoError(t, os.WriteFile(path, []byte("# Title\n"+beginMark+"\nold\n"+endMark+"\nend\n"), 0o600))
	r := newReport(Machine{Kernel: "6.1"})
	r.Overhead = []Overhead{{Load: loadCompile, Loss: -0.25, Shares: []Share{{Program: "count_fork", Rate: 12345}}}}
	r.Optional = []Optional{{"syscalls", Overhead{Load: loadSystemCall, Loss: 1.5}}}
	r.When[PartOverhead] = When{Quick: true}
	r.judge()
	for range 2 {
		require.NoError(t, r.Publish(path))
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Regexp(t, "(?s)^# Title\n"+beginMark+"\nMachine: Linux 6.1,.*quick: poor numbers.*"+endMark+"\nend\n$", string(text))
	assert.NotContains(t, string(text), "old")
	assert.Contains(t, string(text), "| compile | 0  | 0  | -0.25 |")
	assert.Contains(t, string(text), "12,345")
	assert.Contains(t, string(text), "| `syscalls` | system call | 0  | 0  | 1.50 |")

	require.NoError(t, os.WriteFile(path, []byte("# no marks\n"), 0o600))
	assert.ErrorContains(t, r.Publish(path), "marks")
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "0.0123": 0.01234, "0.18": 0.1834, "1.83": 1.834, "18.3": 18.34, "183": 183.4, "1,834": 1834, "-1,234,567": -1234567, "0.10": 0.09999,
	} {
		assert.Equal(t, want, number(v))
	}
}
