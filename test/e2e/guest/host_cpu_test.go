// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/procfs"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// plug plugs a CPU in or out.
func plug(cpu string, in bool) error {
	value := map[bool]string{false: "0", true: "1"}[in]
	return os.WriteFile("/sys/devices/system/cpu/"+cpu+"/online", []byte(value), 0)
}

// counted is what the kernel itself says: time and context switches of all CPUs
// from /proc/stat, and stalls from /proc/pressure, in seconds.
type counted struct{ busy, switches, stalled float64 }

func counts(t *testing.T) (c counted) {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	require.NoError(t, err)
	for line := range strings.Lines(string(stat)) {
		switch f := strings.Fields(line); f[0] {
		case "cpu":
			for i, text := range f[1:9] {
				if i == 3 || i == 4 { // idle, waiting for I/O
					continue
				}
				ticks, err := strconv.ParseFloat(text, 64)
				require.NoError(t, err)
				c.busy += ticks / 100
			}
		case "ctxt":
			c.switches, err = strconv.ParseFloat(f[1], 64)
			require.NoError(t, err)
		}
	}
	pressure, err := os.ReadFile("/proc/pressure/cpu")
	require.NoError(t, err)
	_, total, _ := strings.Cut(string(pressure), "total=")
	digits, _, _ := strings.Cut(total, "\n")
	micros, err := strconv.ParseFloat(digits, 64)
	require.NoError(t, err)
	c.stalled = micros / 1e6
	return c
}

// reading is one look of each source.
type reading struct {
	began, ended time.Duration // CLOCK_BOOTTIME
	nodes        map[string]*arc.Node
	sweep        map[uint64][arc.NumCgroupFields]uint64
}

// TestHostWhoseCPUsComeAndGo plugs a CPU with a history out and in under load. No
// counter may go back by it, jump by it, or miss what the others do.
func TestHostWhoseCPUsComeAndGo(t *testing.T) {
	const cpu = "cpu1"
	require.Equal(t, 2, runtime.NumCPU())
	t.Cleanup(func() { assert.NoError(t, plug(cpu, true)) })
	spinners := MakeCgroup(t, "/spinners")
	for range 4 {
		Start(t, "spinner", spinners, []string{roleEnv + "=spinner"}, os.Args[0])
	}
	src := sources.Open(sources.Settings{MaxCgroups: 256}, new(sampler.SystemClock))
	defer src.Close()
	require.NotNil(t, src.Cgroups)
	defer src.Names.Close()
	var everything [arc.NumNodeFields]bool
	for f := range everything {
		everything[f] = true
	}
	proc := procfs.Open("/proc", "/sys", everything)
	defer proc.Close()

	look := func() reading {
		t.Helper()
		r := reading{began: clockNow(t, unix.CLOCK_BOOTTIME), nodes: map[string]*arc.Node{}, sweep: map[uint64][arc.NumCgroupFields]uint64{}}
		for name, source := range map[string]sampler.NodeReader{"BPF": src.Node, "/proc": proc} {
			n := &arc.Node{}
			for f := range n {
				n[f] = math.NaN()
			}
			require.NoError(t, source.Read(n))
			r.nodes[name] = n
		}
		var sweep arc.Sweep
		require.NoError(t, src.Cgroups.Sweep(&sweep))
		for row, id := range sweep.ID {
			var values [arc.NumCgroupFields]uint64
			for f := range values {
				values[f] = sweep.Value(arc.CgroupField(f), row)
			}
			r.sweep[id] = values
		}
		r.ended = clockNow(t, unix.CLOCK_BOOTTIME)
		return r
	}
	time.Sleep(6 * time.Second) // a history for the CPU to take away
	before, first := counts(t), look()
	last, looks := first, 0
	for _, in := range []bool{false, true, false, true} {
		plugged := make(chan error, 1)
		go func() { plugged <- plug(cpu, in) }()
		for end := last.ended + 1500*time.Millisecond; last.ended < end; looks++ {
			now := look()
			moderate(t, last, now)
			last = now
			time.Sleep(5 * time.Millisecond)
		}
		require.NoError(t, <-plugged)
	}
	after := counts(t)
	t.Logf("%d looks in %v; /proc/stat: %+v", looks, last.ended-first.began, counted{after.busy - before.busy, after.switches - before.switches, after.stalled - before.stalled})
	for name, n := range last.nodes {
		was := first.nodes[name]
		grown := func(f arc.NodeField) float64 { return n[f] - was[f] }
		assert.InDelta(t, after.busy-before.busy, grown(arc.NodeCPUBusy), 0.05*(after.busy-before.busy)+0.2, "CPU time by %s", name)
		assert.LessOrEqual(t, grown(arc.NodeContextSwitches), after.switches-before.switches, "context switches by %s", name)
		assert.Greater(t, grown(arc.NodeContextSwitches), 0.8*(after.switches-before.switches), "context switches by %s", name)
		assert.InDelta(t, after.stalled-before.stalled, grown(arc.NodePressureCPUSome), 0.1*(after.stalled-before.stalled)+0.2, "pressure by %s", name)
		assert.Greater(t, grown(arc.NodeRunQueueDelay), 2.0, "four processes on two CPUs or one wait, by %s", name)
	}
	bpf, files := last.nodes["BPF"][arc.NodeRunQueueDelay]-first.nodes["BPF"][arc.NodeRunQueueDelay],
		last.nodes["/proc"][arc.NodeRunQueueDelay]-first.nodes["/proc"][arc.NodeRunQueueDelay]
	assert.InDelta(t, bpf, files, 0.05*bpf+0.2, "run-queue delay")
}

// moderate asserts that nothing went back, and that times grew by no more than a
// machine of this size can make of the time that passed.
func moderate(t *testing.T, before, now reading) {
	t.Helper()
	elapsed := (now.ended - before.began).Seconds()
	// Time that tasks waited is counted when the wait ends, and CPU time by clock
	// ticks: this much may come at once.
	const tasks, slack = 10, 1.5
	for name, n := range now.nodes {
		for f := range n {
			field := arc.NodeFields[f]
			if field.Kind != arc.Counter || math.IsNaN(n[f]) {
				continue
			}
			grown := n[f] - before.nodes[name][f]
			require.GreaterOrEqual(t, grown, 0.0, "%s by %s went back", field.Name, name)
			if field.Unit == "s" {
				require.LessOrEqual(t, grown, tasks*elapsed+slack, "%s by %s in %v s", field.Name, name, elapsed)
			}
		}
	}
	for id, values := range now.sweep {
		was, known := before.sweep[id]
		for f, v := range values {
			field := arc.CgroupFields[f]
			if field.Kind != arc.Counter || v == arc.Absent || !known || was[f] == arc.Absent {
				continue
			}
			require.GreaterOrEqual(t, v, was[f], "%s of cgroup %d went back", field.Name, id)
			if field.Unit == "s" {
				require.LessOrEqual(t, float64(v-was[f])/1e9, tasks*elapsed+slack, "%s of cgroup %d in %v s", field.Name, id, elapsed)
			}
		}
	}
}
