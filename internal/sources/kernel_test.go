// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/bpf"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/testmachine"
	"github.com/otelcol-reflex/reflex/internal/wake"
)

// needBPF skips where BPF cannot be had, unless the environment forbids it.
func needBPF(t testing.TB) {
	t.Helper()
	node, err := bpf.OpenNode()
	if err == nil {
		require.NoError(t, node.Close())
		return
	}
	if os.Getenv("REFLEX_REQUIRE_BPF") == "1" {
		t.Fatalf("REFLEX_REQUIRE_BPF=1, but BPF cannot be had: %v", err)
	}
	if errors.Is(err, bpf.ErrUnsupported) || errors.Is(err, os.ErrPermission) {
		t.Skipf("needs BPF; run as root on a kernel with BTF: %v", err)
	}
	t.Fatal(err)
}

// System calls are off unless asked for.
func TestSystemCallsAreCountedWhenWanted(t *testing.T) {
	needBPF(t)
	off := Open(Settings{NodeOnly: true}, new(sampler.SystemClock))
	defer off.Close()
	n := absent()
	require.NoError(t, off.Node.Read(&n))
	assert.True(t, math.IsNaN(n[arc.NodeSyscallRate]))

	on := Open(Settings{NodeOnly: true, Syscalls: DutyCycle{Window: 20 * time.Millisecond, Period: time.Second}}, new(sampler.SystemClock))
	defer on.Close()
	for _, m := range on.Missing {
		require.NotEqual(t, "tp_btf/sys_enter", m.Name, m.Cause)
	}
	require.Eventually(t, func() bool {
		n = absent()
		return on.Node.Read(&n) == nil && n[arc.NodeSyscallRate] > 0
	}, 20*time.Second, 10*time.Millisecond)
	assert.Positive(t, n[arc.NodeCPUBusy], "the rest is read as before")
}

// The traffic of cgroups is counted for who asks, below the root that is asked
// for: here a cgroup of the test's own.
func TestTrafficOfCgroupsIsCountedWhenWanted(t *testing.T) {
	needBPF(t)
	mount, err := cgroupfs.FindRoot()
	require.NoError(t, err)
	root := filepath.Join(mount, fmt.Sprintf("reflex-test-sources-%d", os.Getpid()))
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Skip(err)
	}
	defer func() { require.NoError(t, unix.Rmdir(root)) }()
	for _, wanted := range []bool{false, true} {
		src := Open(Settings{CgroupRoot: root, MaxCgroups: 8, CgroupNetwork: wanted}, new(sampler.SystemClock))
		defer src.Close()
		defer src.Names.Close()
		for _, m := range src.Missing {
			require.NotContains(t, []string{"iter/cgroup", "cgroup_skb", "CAP_NET_ADMIN"}, m.Name, m.Cause)
		}
		var sweep arc.Sweep
		require.NoError(t, src.Cgroups.Sweep(&sweep))
		want := arc.Absent
		if wanted {
			want = 0 // and that is known
		}
		assert.Equal(t, want, sweep.Value(arc.CgroupBytesSent, 0))
		assert.Equal(t, want, sweep.Value(arc.CgroupTCPOpens, 0))
	}
}

// Every source that can be had agrees with every other: a dimension filled by
// BPF is within a twentieth of what /proc says, or within what has been counted
// between the two readings and the 10 ms to which /proc cuts times.
func TestBPFAgreesWithProc(t *testing.T) {
	needBPF(t)
	both := &Sources{}
	both.openNode()
	defer both.Close()
	proc := &Sources{}
	proc.openNodeFrom(nil)
	defer proc.Close()

	var fromBoth, fromProc arc.Node
	for f := range fromBoth {
		fromBoth[f], fromProc[f] = -1, -1
	}
	require.NoError(t, proc.Node.Read(&fromProc))
	require.NoError(t, both.Node.Read(&fromBoth))
	for f, want := range fromProc {
		if !both.SinceBoot[f] || want <= 0 {
			continue // counted from when BPF was opened
		}
		switch arc.NodeField(f) {
		case arc.NodeTasksRunnable, arc.NodeTasksBlocked:
			continue // true of one instant only; package bpf compares them
		}
		assert.InDelta(t, want, fromBoth[f], max(0.05*want, 0.02), arc.NodeFields[f].Name)
	}
}

// What a program that cannot be had costs is seen in what reads instead.
func TestTheEffectOfAProgramThatIsRefused(t *testing.T) {
	if !testmachine.Inside() {
		needBPF(t)
	}
	for name, tc := range map[string]struct {
		change      testmachine.Change
		requirement string
		file        string
		dimension   string // read from file instead
		absent      string // read by nobody
	}{
		"an event": {
			testmachine.WithOtherTracepoint("block_rq_complete"),
			"tp_btf/block_rq_complete", "/proc/diskstats", "system.disk.block.io", "",
		},
		"no tracepoint": {
			testmachine.WithoutTracepoint("sched_process_exec"),
			"tp_btf/sched_process_exec", "", "", "system.process.execs",
		},
		"the node": {
			testmachine.WithoutMember("rq", "nr_switches"),
			"syscall/sample_node", "/proc/stat", "system.cpu.context_switches", "system.process.uninterruptible",
		},
		"the sweep": {
			testmachine.WithoutMember("cgroup", "kn"),
			"iter/cgroup", "cpu.stat", "cgroup.cpu.time", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if !testmachine.Run(t, testmachine.WithBTF(tc.change)) {
				return
			}
			s := Open(Settings{MaxCgroups: 64}, new(sampler.SystemClock))
			defer s.Close()
			require.NotNil(t, s.Names)
			defer s.Names.Close()
			effect := s.EffectOf(tc.requirement)
			instead := map[string]string{}
			for _, file := range effect.Instead {
				for _, d := range file.Dimensions {
					instead[d] = file.File
				}
			}
			assert.Equal(t, tc.file, instead[tc.dimension])
			if tc.absent != "" {
				assert.Contains(t, effect.Absent, tc.absent)
			}
			n := absent()
			require.NoError(t, s.Node.Read(&n))
			for f, o := range s.NodeOrigins {
				assert.Equal(t, o.Absent(), math.IsNaN(n[f]), "%s: read by %q, is %v", arc.NodeFields[f].Name, o, n[f])
			}
		})
	}
}

// BenchmarkLook is what a slow sampler does ten times a second.
func BenchmarkLook(b *testing.B) {
	needBPF(b)
	src := Open(Settings{NodeOnly: true, EarlyWake: true}, new(sampler.SystemClock))
	defer src.Close()
	require.NotNil(b, src.Watch)
	b.ReportAllocs()
	for now := int64(0); b.Loop(); now += int64(wake.Every) {
		_ = src.Watch.Look(now)
	}
}

// BenchmarkLookAtTriggers is the same without BPF.
func BenchmarkLookAtTriggers(b *testing.B) {
	src := &Sources{}
	src.openWatch("/proc/pressure")
	defer src.Close()
	if src.Watch == nil {
		b.Skip(src.Missing)
	}
	b.ReportAllocs()
	for now := int64(0); b.Loop(); now += int64(wake.Every) {
		_ = src.Watch.Look(now)
	}
}

func BenchmarkTickOfThisKernel(b *testing.B) {
	needBPF(b)
	src := Open(Settings{MaxCgroups: bpf.DefaultMaxCgroups}, new(sampler.SystemClock))
	defer src.Close()
	var n arc.Node
	var sweep arc.Sweep
	require.NotNil(b, src.Cgroups)
	b.ReportAllocs()
	for b.Loop() {
		_ = src.Node.Read(&n)
		_ = src.Cgroups.Sweep(&sweep)
	}
	b.ReportMetric(float64(sweep.Len()), "cgroups")
}
