// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
)

// needMeter skips where programs cannot be measured, unless that is forbidden.
func needMeter(t *testing.T) {
	t.Helper()
	node, err := bpf.OpenNode()
	if err == nil {
		require.NoError(t, node.Close())
		var m *bpf.Meter
		if m, err = bpf.OpenMeter(); err == nil {
			require.NoError(t, m.Close())
		}
	}
	if err != nil && os.Getenv("REFLEX_REQUIRE_BPF") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// attachedHere counts the descriptors of programs and links of this process.
func attachedHere(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "prog_id:") {
			n++
		}
	}
	return n
}

func TestProbeMeasuresThisMachine(t *testing.T) {
	needMeter(t)
	before := attachedHere(t)
	text, _ := probeText(t, thisMachine(), "--measure", "350ms", "--output", "json")
	var r report
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	require.NotNil(t, r.Measured)
	assert.GreaterOrEqual(t, r.Measured.Seconds, 0.349, "on another clock than the one that was waited by")
	named := map[string]measuredUsage{}
	for _, p := range r.Measured.Programs {
		named[p.Name] = p
	}
	node := named["sample_node"]
	assert.Equal(t, "syscall/sample_node", node.Section)
	assert.InDelta(t, float64(r.Measured.Ticks), node.PerSecond*r.Measured.Seconds, 1e-6, "one run a tick")
	assert.Positive(t, node.NS)
	assert.InDelta(t, node.PerSecond*node.NS/1e7, node.CorePercent, 1e-6)
	assert.GreaterOrEqual(t, r.Measured.CorePercent, node.CorePercent)
	assert.Positive(t, r.Measured.ReadingPercent)
	assert.Positive(t, r.Measured.OwnNS)
	assert.Contains(t, named, "count_fork", "attached, whether anything forks or not")
	assert.Equal(t, before, attachedHere(t), "everything is detached")
}

// Ctrl-C ends the measurement, tells what there is, and leaves nothing behind.
func TestAnInterruptEndsTheMeasurement(t *testing.T) {
	needMeter(t)
	before := attachedHere(t)
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	m := thisMachine()
	measure := m.measure
	m.measure = func(ctx context.Context, src *sources.Sources, span time.Duration) (*measurement, error) {
		assert.Greater(t, attachedHere(t), before)
		interrupt()
		return measure(ctx, src, span)
	}
	var out bytes.Buffer
	c := probeCommandOn(m)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs([]string{"--measure", "1h"})
	ended := make(chan error, 1)
	go func() { ended <- c.ExecuteContext(ctx) }()
	select {
	case <-ended: // with what the machine lacks, or nil
	case <-time.After(time.Minute):
		t.Fatal("the measurement goes on")
	}
	assert.Contains(t, out.String(), "measured on this machine for ")
	assert.Contains(t, out.String(), "verdict ")
	assert.Equal(t, before, attachedHere(t))
}

func TestToMeasureTakesPrivilege(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithoutPrivilege()) {
		return
	}
	text, code := probeText(t, thisMachine(), "--measure", "100ms")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, text, "CAP_SYS_ADMIN, run reflexctl as root")
	assert.Contains(t, text, "verdict ", "the table is there all the same")
}

func TestTheTableOfAMeasurement(t *testing.T) {
	m := fakeMachine(t)
	m.measure = func(context.Context, *sources.Sources, time.Duration) (*measurement, error) {
		r := &measurement{Seconds: 2, IntervalMS: 100, OwnNS: 45, ReadingPercent: 0.7}
		r.add([]bpf.Usage{
			{Name: "count_exec"},
			{Name: "count_fork", Runs: 2000, Time: 200 * time.Microsecond},
			{Name: "somebody_elses", Runs: 2, Time: 2 * time.Millisecond},
		}, 2*time.Second)
		return r, nil
	}
	text, code := probeText(t, m, "--measure", "2s")
	assert.Zero(t, code)
	assert.Regexp(t, `(?m)^  somebody_elses +1\.0 +1000000 +0\.1000\n  count_fork +1000\.0 +100 +0\.0100  tp_btf/sched_process_fork\n  count_exec +0\.0 +– +0\.0000  tp_btf`, text)
	assert.Regexp(t, `(?m)^  all +0\.1100$`, text)
	assert.Regexp(t, `(?m)^  reading, this process +0\.7000$`, text)
	assert.Contains(t, text, "some 45 ns")

	m.measure = func(context.Context, *sources.Sources, time.Duration) (*measurement, error) {
		return nil, errors.New("no clock")
	}
	text, code = probeText(t, m, "--measure", "2s")
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, text, "no clock")
	for _, span := range []string{"1ms", "-2s", "3h", "soon"} {
		text, code = probeText(t, m, "--measure", span)
		assert.Equal(t, exitFailed, code)
		assert.Contains(t, text, `"--measure" flag`)
	}
}
