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
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/sources"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
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
		traffic: func() []bpf.Requirement {
			return []bpf.Requirement{{Name: bpf.TrafficRequirements[0], Present: true}, {Name: bpf.TrafficRequirements[1], Present: true}}
		},
		acting: func() []guard.Requirement { return []guard.Requirement{{Name: "CAP_SYS_ADMIN", Present: true}} },
		open:   allByBPF,
		root:   func() (string, error) { return root, nil },
		psi:    psi,
	}
}

// allByBPF are sources in which BPF fills whatever it can, and files the rest.
func allByBPF() *sources.Sources {
	s := &sources.Sources{}
	for f := range s.NodeOrigins {
		s.NodeOrigins[f] = sources.Origin{File: "/proc/something"}
	}
	for f := range s.CgroupOrigins {
		s.CgroupOrigins[f] = sources.Origin{File: "memory.stat", Age: 2 * time.Second}
	}
	for _, n := range bpf.Needs() {
		for _, f := range n.Node {
			s.NodeOrigins[f] = sources.Origin{Program: n.Requirement}
		}
		for _, f := range n.Cgroup {
			s.CgroupOrigins[f] = sources.Origin{Program: "iter/cgroup"}
		}
	}
	return s
}

func probed(m machine) report {
	r, _ := m.probe(context.Background(), 0)
	return r
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
	assert.Contains(t, text, "do first   nothing")
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
	assert.Contains(t, strings.Join(strings.Fields(text), " "), "→ "+cgroupfs.MemoryRemedy(root))
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
	assert.Equal(t, []finding{{
		requirement: requirement{Name: "CAP_SYS_ADMIN", Cause: "not effective", Remedy: "give it"},
		Without:     withoutIt["CAP_SYS_ADMIN"],
	}}, r.Enforce.Requirements)
	assert.Len(t, r.Dimensions, int(arc.NumNodeFields)+int(arc.NumCgroupFields))
	assert.Equal(t, "give it", r.Verdict.First)
	assert.Equal(t, "CAP_SYS_ADMIN", r.Verdict.For)
	assert.Equal(t, []string{"cpu", "io", "memory", "pids"}, r.Cgroup.Controllers)
	assert.Equal(t, 3, r.Cgroup.Cgroups)
}

func TestProbeNamesEachThingOnce(t *testing.T) {
	m := fakeMachine(t)
	m.sensing = func() []bpf.Requirement {
		return []bpf.Requirement{{Name: "cgroup v2", Present: true}, {Name: "PSI", Present: true}}
	}
	seen := map[string]bool{}
	for _, q := range probed(m).Observe.Requirements {
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
	r := probed(thisMachine())
	assert.NotEmpty(t, r.Kernel)
	assert.NotEmpty(t, r.Observe.Requirements)
	assert.NotEmpty(t, r.Enforce.Requirements)
	for _, q := range slices.Concat(r.Observe.Requirements, r.Optional.Requirements, r.Enforce.Requirements) {
		if !q.Present {
			assert.NotEmpty(t, q.Cause, q.Name)
			assert.NotEmpty(t, q.Remedy, q.Name)
		}
	}
	// Somebody reads each dimension, or it says why not.
	excused := map[string]bool{}
	for _, q := range slices.Concat(r.Observe.Requirements, r.Optional.Requirements) {
		for _, name := range q.Absent {
			excused[name] = true
		}
		if q.Unused {
			for _, name := range q.For {
				excused[name] = true
			}
		}
	}
	for _, d := range r.Dimensions {
		assert.True(t, d.Program != "" || d.File != "" || excused[d.Name], "%s is absent, and no requirement says so", d.Name)
	}
}

// withoutExec lacks one program, and a reason for system calls to be counted.
func withoutExec(t *testing.T) machine {
	t.Helper()
	m := fakeMachine(t)
	m.sensing = func() []bpf.Requirement {
		return []bpf.Requirement{
			{Name: "BTF", Present: true},
			{Name: "PSI", Cause: "not in this kernel's BTF", Remedy: "boot with psi=1"},
			{Name: "tp_btf/sched_process_fork", Present: true},
			{Name: "tp_btf/sched_process_exec", Cause: "attach count_exec: " + strings.Repeat("no such thing ", 20), Remedy: "boot a newer kernel"},
			{Name: "tp_btf/sys_enter", Present: true},
		}
	}
	m.open = func() *sources.Sources {
		s := allByBPF()
		for _, f := range []arc.NodeField{arc.NodeExecs, arc.NodeSyscallRate, arc.NodeSyscallEntropy} {
			s.NodeOrigins[f] = sources.Origin{}
		}
		for _, f := range []arc.NodeField{
			arc.NodePressureCPUSome, arc.NodePressureMemorySome, arc.NodePressureMemoryFull, arc.NodePressureIOSome, arc.NodePressureIOFull,
		} {
			s.NodeOrigins[f] = sources.Origin{File: "/proc/pressure", Age: 2 * time.Second}
		}
		return s
	}
	return m
}

func TestProbeSaysWhatItCosts(t *testing.T) {
	text, code := probeText(t, withoutExec(t))
	assert.Equal(t, exitMissing, code)
	assert.Regexp(t, `✓ tp_btf/sched_process_fork +\d+ ns a fork +process\.forks\n`, text)
	assert.Regexp(t, `✗ tp_btf/sched_process_exec +\d+ ns an exec +process\.execs\n`, text)
	assert.Regexp(t, `✓ tp_btf/sys_enter +81 ns a system call +syscall\.rate, syscall\.entropy; *\n* *off by default`, text)
	assert.Contains(t, text, "absent   system.process.execs\n")
	assert.Contains(t, text, "instead  /proc/pressure, up to 2s old: system.pressure.cpu.some, system.pressure.memory.some,\n")
	flat := strings.Join(strings.Fields(text), " ")
	assert.Contains(t, flat, "verdict node: of 45 dimensions")
	assert.Contains(t, flat, "2 off by default, 1 absent; cgroups: of 29 dimensions 20 by BPF, 9 from files, 0 absent")
	assert.Contains(t, flat, "do first for PSI: boot with psi=1", "five dimensions weigh more than one")
}

func TestProbeForProgramsSaysWhatItCosts(t *testing.T) {
	text, _ := probeText(t, withoutExec(t), "--output", "json")
	var r report
	require.NoError(t, json.Unmarshal([]byte(text), &r))
	found := map[string]finding{}
	for _, q := range r.Observe.Requirements {
		found[q.Name] = q
	}
	exec := found["tp_btf/sched_process_exec"]
	assert.Equal(t, []string{"system.process.execs"}, exec.Absent)
	require.NotNil(t, exec.Program)
	assert.Equal(t, program{Name: "count_exec", Per: "an exec", NS: 250}, *exec.Program)
	require.Len(t, found["PSI"].Instead, 1)
	assert.InDelta(t, 2, found["PSI"].Instead[0].MaxAge, 0)
	assert.Len(t, found["PSI"].Instead[0].Dimensions, 5)
	assert.True(t, found["tp_btf/sys_enter"].Unused)
	assert.Empty(t, found["tp_btf/sched_process_fork"].Absent)
}

// The table is the same in a terminal, in a file and in a ticket.
func TestTheTableIsPlainAndOfBoundedWidth(t *testing.T) {
	for name, m := range map[string]machine{"one program is missing": withoutExec(t), "this machine": thisMachine()} {
		text, _ := probeText(t, m)
		assert.NotContains(t, text, "\x1b", name)
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			assert.LessOrEqual(t, utf8.RuneCountInString(line), tableWidth, "%s: %q", name, line)
			assert.Equal(t, strings.TrimRight(line, " "), line, name)
		}
	}
}

func TestWrapKeepsToItsWidth(t *testing.T) {
	assert.Equal(t, []string{"ab cd", "ef"}, wrap(" ab  cd\nef ", 5))
	assert.Equal(t, []string{"ab", "µd", "ef"}, wrap("ab µd ef", 4), "one short")
	assert.Equal(t, []string{"ab", "a-long-word", "ef"}, wrap("ab a-long-word ef", 4), "which is not cut")
	assert.Equal(t, []string{""}, wrap("", 5))
}

// One cause has many symptoms; what it costs is told once.
func TestProbeTellsAnEffectOnce(t *testing.T) {
	m := withoutExec(t)
	m.sensing = func() []bpf.Requirement {
		return []bpf.Requirement{
			{Name: "CAP_BPF", Cause: "not effective", Remedy: "setcap"},
			{Name: "tp_btf/sched_process_exec", Cause: strings.Repeat("refused ", 40), Remedy: "setcap"},
		}
	}
	text, _ := probeText(t, m)
	assert.Equal(t, 1, strings.Count(text, "system.process.execs"))
	assert.Contains(t, text, "refused …", "the second of a kind is told in one line")
	flat := strings.Join(strings.Fields(text), " ")
	assert.Contains(t, flat, "do first for CAP_BPF: setcap")
}

// The whole road: a real kernel refuses a real program, and the table says what
// is read instead.
func TestProbeOfAMachineWhoseVerifierRefusesAProgram(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithBTF(testmachine.WithOtherTracepoint("block_rq_complete"))) {
		return
	}
	m := thisMachine()
	if node, err := bpf.OpenNode(); err != nil {
		t.Skip(err)
	} else {
		require.NoError(t, node.Close())
	}
	text, code := probeText(t, m)
	assert.Equal(t, exitMissing, code)
	assert.Regexp(t, `(?m)^  ✗ tp_btf/block_rq_complete +\d+ ns a block request`, text)
	assert.Contains(t, strings.Join(strings.Fields(text), " "), "why load [count_block]: refused by the verifier")
	assert.Contains(t, text, "instead  /proc/diskstats, as fresh: system.disk.block.operations")
	assert.Regexp(t, `(?m)^  ✓ tp_btf/sched_process_fork`, text)
}

// Without privilege it still works, and says what needs which capability.
func TestProbeWithoutPrivilege(t *testing.T) {
	if !testmachine.Run(t, testmachine.WithoutPrivilege()) {
		return
	}
	text, code := probeText(t, thisMachine(), "--mode", "enforce")
	assert.Equal(t, exitMissing, code)
	for _, name := range []string{"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH"} {
		assert.Regexp(t, `(?m)^  ✗ `+name+`\b`, text)
	}
	assert.Contains(t, text, "/proc/stat, as fresh: ")
	assert.Contains(t, text, "system.process.execs")
	assert.Contains(t, strings.Join(strings.Fields(text), " "), "do first for ")
}

func TestWhatAGuardCannotDoIsSaid(t *testing.T) {
	for _, q := range guard.Requirements() {
		assert.NotEmpty(t, withoutIt[q.Name], q.Name)
	}
	m := fakeMachine(t)
	withoutAdmin(&m)
	text, _ := probeText(t, m)
	assert.Contains(t, text, "without  no lease can be recorded")
}

func TestBadFlagsAreRefusedByName(t *testing.T) {
	for _, args := range [][]string{{"--mode", "maybe"}, {"--output", "xml"}} {
		text, code := probeText(t, fakeMachine(t), args...)
		assert.Equal(t, exitFailed, code)
		assert.Contains(t, text, args[0])
	}
}
