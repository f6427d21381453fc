// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestProgramsAreFoundByDescriptor(t *testing.T) {
	for text, want := range map[string]ebpf.ProgramID{
		"pos:\t0\nflags:\t02000002\nlink_type:\ttracing\nlink_id:\t7\nprog_tag:\tabc\nprog_id:\t4711\n": 4711,
		"pos:\t0\nprog_type:\t26\nprog_id:\t12\n":                                                       12,
	} {
		id, ok := heldProgram(text)
		assert.True(t, ok)
		assert.Equal(t, want, id)
	}
	for _, text := range []string{"", "pos:\t0\nmap_id:\t3\n", "prog_id:\tx\n"} {
		_, ok := heldProgram(text)
		assert.False(t, ok, "%q", text)
	}
}

func TestMemoryIsReadFromTheRollup(t *testing.T) {
	m, err := parseRollup([]byte("00400000-7ffd rollup\nRss:   40960 kB\nPss: 1 kB\nAnonymous:  20480 kB\n"))
	require.NoError(t, err)
	assert.Equal(t, memory{40, 20}, m)
	_, err = parseRollup([]byte("Pss: 1 kB\n"))
	assert.ErrorContains(t, err, "Rss")
	own, err := processMemory(os.Getpid())
	require.NoError(t, err)
	assert.Greater(t, own.resident, own.anonymous)
}

func TestCPUTimeIsThatOfTheProcess(t *testing.T) {
	before, err := processTime(os.Getpid())
	require.NoError(t, err)
	for start := thread(); thread()-start < int64(30*time.Millisecond); {
		continue
	}
	after, err := processTime(os.Getpid())
	require.NoError(t, err)
	assert.GreaterOrEqual(t, after-before, 25*time.Millisecond)
}

func TestConfigurationsAreYAML(t *testing.T) {
	for _, text := range []string{everything("/a", "100ms"), sensingOnly("/a", "10ms"), withOption("/a", "10ms", "top_n: 7"), hostMetrics} {
		var got struct {
			Receivers map[string]map[string]any
			Service   struct{ Pipelines map[string]any }
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &got), text)
		assert.NotEmpty(t, got.Service.Pipelines)
		if ours, ok := got.Receivers["ebpf"]; ok {
			assert.Equal(t, "/a", ours["cgroup_root"])
		}
	}
}

// script is a stand-in for a collector.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "collector")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700))
	return path
}

func TestACollectorIsAwaitedAndStopped(t *testing.T) {
	c, err := startCollector(context.Background(), script(t, "trap 'exit 0' TERM\necho '"+ready+"' >&2\nwhile :; do sleep 0.05; done\n"), "{}")
	require.NoError(t, err)
	require.NoError(t, c.stop())
	assert.NoDirExists(t, c.dir)
	assert.NoDirExists(t, fmt.Sprintf("/proc/%d", c.pid()))
}

func TestACollectorThatEndsOrHangsSaysWhatItLogged(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err := startCollector(ctx, script(t, "echo no such key >&2\nexit 3\n"), "{}")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorContains(t, err, "no such key")
	_, err = startCollector(ctx, filepath.Join(t.TempDir(), "nowhere"), "{}")
	assert.ErrorIs(t, err, os.ErrNotExist)
}
