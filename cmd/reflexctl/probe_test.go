// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// fakeMachine has everything, on a cgroup tree of its own.
func fakeMachine(t *testing.T) machine {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu io memory pids\n"), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a", "b"), 0o700))
	psi := filepath.Join(root, "memory.pressure")
	require.NoError(t, os.WriteFile(psi, []byte("some avg10=0.00\n"), 0o600))
	return machine{
		kernel:  func() string { return "6.12.0" },
		sensing: func() []bpf.Requirement { return []bpf.Requirement{{Name: "BTF", Present: true}} },
		acting:  func() []guard.Requirement { return []guard.Requirement{{Name: "CAP_SYS_ADMIN", Present: true}} },
		root:    func() (string, error) { return root, nil },
		psi:     psi,
	}
}

// probeText returns what probe prints and its exit status.
func probeText(t *testing.T, m machine, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	c := probeCommandOn(m)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceUsage = true
	c.SetArgs(args)
	code := exitCode(c.Execute())
	return out.String(), code
}

func TestProbeOfACompleteMachine(t *testing.T) {
	text, code := probeText(t, fakeMachine(t))
	assert.Zero(t, code)
	assert.Contains(t, text, "6.12.0")
	assert.Contains(t, text, "observe (to sense and decide): ready")
	assert.Contains(t, text, "(3 cgroups; cpu io memory pids)")
	for _, name := range []string{"BTF", "cgroup v2", "memory controller", "io controller", "readable cgroups", "PSI", "CAP_SYS_ADMIN"} {
		assert.Contains(t, text, "✓ "+name)
	}
	assert.NotContains(t, text, "✗")
}

func TestProbeSaysWhatIsMissingWhyAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*machine)
		mode    string
		code    int
		missing string
	}{
		{"a program", func(m *machine) {
			m.sensing = func() []bpf.Requirement {
				return []bpf.Requirement{{Name: "CAP_BPF", Cause: "not effective", Remedy: "setcap cap_bpf+ep"}}
			}
		}, "observe", 3, "CAP_BPF"},
		{"no cgroup v2", func(m *machine) {
			m.root = func() (string, error) { return "", errors.New("no cgroup2 mount") }
		}, "observe", 3, "cgroup v2"},
		{"no memory controller", func(m *machine) {
			root, _ := m.root()
			require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu\n"), 0o600))
		}, "observe", 3, "memory controller"},
		{"no pressure", func(m *machine) { m.psi += ".gone" }, "observe", 3, "PSI"},
		{"unreadable cgroups", func(m *machine) {
			m.root = func() (string, error) { return filepath.Join(m.psi, "gone"), nil }
		}, "observe", 3, "readable cgroups"},
		{"the guard's alone, observing", withoutAdmin, "observe", 0, "CAP_SYS_ADMIN"},
		{"the guard's alone, enforcing", withoutAdmin, "enforce", 3, "CAP_SYS_ADMIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := fakeMachine(t)
			c.change(&m)
			text, code := probeText(t, m, "--mode", c.mode)
			assert.Equal(t, c.code, code)
			assert.Contains(t, text, "✗ "+c.missing)
			assert.Contains(t, text, "→ ")
			assert.NotContains(t, text, "Error:")
		})
	}
}

func withoutAdmin(m *machine) {
	m.acting = func() []guard.Requirement {
		return []guard.Requirement{{Name: "CAP_SYS_ADMIN", Cause: "not effective", Remedy: "give it"}}
	}
}

func TestTheRemedyForMemoryIsEveryones(t *testing.T) {
	m := fakeMachine(t)
	root, _ := m.root()
	require.NoError(t, os.WriteFile(filepath.Join(root, "cgroup.controllers"), []byte("cpu\n"), 0o600))
	text, _ := probeText(t, m)
	assert.Contains(t, text, "→ "+cgroupfs.MemoryRemedy(root))
	assert.NotContains(t, text, "\uFFFD")
}

func TestProbeForPrograms(t *testing.T) {
	m := fakeMachine(t)
	withoutAdmin(&m)
	text, code := probeText(t, m, "--output", "json")
	assert.Zero(t, code)
	var r report
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	assert.True(t, r.Observe.Ready)
	assert.False(t, r.Enforce.Ready)
	assert.Equal(t, []requirement{{Name: "CAP_SYS_ADMIN", Cause: "not effective", Remedy: "give it"}}, r.Enforce.Requirements)
	assert.Equal(t, []string{"cpu", "io", "memory", "pids"}, r.Cgroup.Controllers)
	assert.Equal(t, 3, r.Cgroup.Cgroups)
}

func TestProbeNamesEachThingOnce(t *testing.T) {
	m := fakeMachine(t)
	m.sensing = func() []bpf.Requirement {
		return []bpf.Requirement{{Name: "cgroup v2", Present: true}, {Name: "PSI", Present: true}}
	}
	seen := map[string]bool{}
	for _, q := range m.probe().Observe.Requirements {
		assert.False(t, seen[q.Name], q.Name)
		seen[q.Name] = true
	}
}

func TestProbeSaysARemedyOnce(t *testing.T) {
	m := fakeMachine(t)
	m.sensing = func() []bpf.Requirement {
		return []bpf.Requirement{{Name: "CAP_BPF", Cause: "x", Remedy: "setcap"}, {Name: "iter/cgroup", Cause: "y", Remedy: "setcap"}}
	}
	text, _ := probeText(t, m)
	assert.Equal(t, 1, strings.Count(text, "→ setcap"))
	assert.Contains(t, text, "✗ iter/cgroup")
}

func TestProbeOfThisMachineSaysSomething(t *testing.T) {
	r := thisMachine().probe()
	assert.NotEmpty(t, r.Kernel)
	assert.NotEmpty(t, r.Observe.Requirements)
	assert.NotEmpty(t, r.Enforce.Requirements)
	for _, q := range append(r.Observe.Requirements, r.Enforce.Requirements...) {
		if !q.Present {
			assert.NotEmpty(t, q.Cause, q.Name)
			assert.NotEmpty(t, q.Remedy, q.Name)
		}
	}
}

func TestBadFlagsAreRefusedByName(t *testing.T) {
	for _, args := range [][]string{{"--mode", "maybe"}, {"--output", "xml"}} {
		text, code := probeText(t, fakeMachine(t), args...)
		assert.Equal(t, exitFailed, code)
		assert.Contains(t, text, args[0])
	}
}
