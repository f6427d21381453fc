// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// restless are files whose text changes while nobody writes.
var restless = []string{".stat", ".stat.local", ".current", ".peak", ".pressure", ".events", ".events.local", ".numa_stat", ".reclaim"}

// settings reads every other file of a cgroup.
func settings(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	all := map[string]string{}
	for _, e := range entries {
		moving := false
		for _, end := range restless {
			moving = moving || strings.HasSuffix(e.Name(), end)
		}
		if e.IsDir() || (moving && e.Name() != "cgroup.events") {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(dir, e.Name())); err == nil { // some are for writing only
			all[e.Name()] = strings.TrimSpace(string(text))
		}
	}
	return all
}

// blockDevice returns the number of the disk that may be used up.
func blockDevice(t *testing.T) device {
	t.Helper()
	path := os.Getenv("REFLEX_TEST_DISK")
	if path == "" {
		t.Skip("REFLEX_TEST_DISK names no disk")
	}
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	return device(unix.Major(st.Rdev))<<32 | device(unix.Minor(st.Rdev))
}

// TestEveryKnobOnTheKernel turns and gives back every knob of a cgroup whose
// owner has set something everywhere, and compares all of its files.
func TestEveryKnobOnTheKernel(t *testing.T) {
	on := blockDevice(t)
	dir, id := tenant(t)
	write := func(file, text string) error {
		return os.WriteFile(filepath.Join(dir, file), []byte(text), 0)
	}
	get := func(file string) string {
		text, err := os.ReadFile(filepath.Join(dir, file))
		require.NoError(t, err)
		return strings.TrimSpace(string(text))
	}
	has := func(file string) bool { _, err := os.Stat(filepath.Join(dir, file)); return err == nil }
	require.NoError(t, write("cpu.weight", "50"))
	require.NoError(t, write("cpu.max", "300000 90000"))
	require.NoError(t, write("pids.max", "4000"))
	require.NoError(t, write("io.max", on.String()+" wiops=120 rbps=900000000"))
	if has("cpu.max.burst") {
		require.NoError(t, write("cpu.max.burst", "20000"))
		require.NoError(t, write("cpu.max", "300000 90000"))
		t.Logf("once cpu.max is written, a burst of 20000 is %s", get("cpu.max.burst"))
		require.NoError(t, write("cpu.max.burst", "20000"))
	}
	// A weight of one device needs iocost on it.
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "io.cost.qos"), []byte(on.String()+" enable=1"), 0))
	require.NoError(t, write("io.weight", on.String()+" 300"))
	before := settings(t, dir)
	t.Logf("%d files", len(before))

	config := Config{KillSwitch: filepath.Join(t.TempDir(), "off"), GrantsPerMinute: 1000}
	start := func() *Guard {
		g, err := New(config)
		require.NoError(t, err)
		t.Cleanup(func() { g.Close() })
		return g
	}
	unfrozen := func() bool { return strings.Contains(get("cgroup.events"), "frozen 0") } // soon, not at once
	orderOn := func(action arc.Action, parameter uint64) arc.Order {
		o := order(id, action, parameter)
		if o.Device != 0 {
			o.Device = uint64(on)
		}
		return o
	}
	ioMax := func(limits string) string { return on.String() + " " + limits }
	for _, c := range []struct {
		action arc.Action
		first  uint64
		turned string
		next   uint64
		moved  string
	}{
		{arc.ActionMemoryHigh, 300 * mib, bytesOf(300 * mib), 310 * mib, bytesOf(310 * mib)},
		{arc.ActionCPUWeight, 10, "10", 20, "20"},
		{arc.ActionCPUIdle, 1, "1", 1, "1"},
		{arc.ActionCPUMax, 1_000_000, "90000 90000", 2_000_000, "180000 90000"},
		{arc.ActionIOWeight, 10, "default 10\n" + on.String() + " 300", 20, "default 20\n" + on.String() + " 300"},
		{arc.ActionIOMaxRead, 3 * mib, ioMax("rbps=3145728 wbps=max riops=max wiops=120"), 4 * mib, ioMax("rbps=4194304 wbps=max riops=max wiops=120")},
		{arc.ActionIOMaxWrite, 3 * mib, ioMax("rbps=900000000 wbps=3145728 riops=max wiops=120"), 4 * mib, ioMax("rbps=900000000 wbps=4194304 riops=max wiops=120")},
		{arc.ActionPidsMax, 100, "100", 150, "150"},
		{arc.ActionFreeze, 1, "1", 1, "1"},
	} {
		t.Run(c.action.String(), func(t *testing.T) {
			g := start()
			file := g.knobs[c.action].file()
			if !has(file) {
				out := act(t, g, of(instant(g), orderOn(c.action, c.first)))
				assert.Equal(t, arc.VerdictRefused, out.Verdict)
				assert.Contains(t, out.Cause, "this kernel does not know")
				t.Log(out.Cause)
				return
			}
			for name, end := range map[string]func(now uint64){
				"released": func(now uint64) { act(t, g, of(now, releaseOrder(id, c.action))) },
				"killed":   func(uint64) { abandon(g); g = start() },
			} {
				now := instant(g)
				out := act(t, g, of(now, orderOn(c.action, c.first)))
				require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
				assert.Equal(t, c.turned, get(file))
				if c.action == arc.ActionFreeze {
					require.Eventually(t, func() bool { return !unfrozen() }, 10*time.Second, time.Millisecond)
				}
				require.Eventually(t, func() bool { // the next write has to be allowed first
					out := act(t, g, of(now, orderOn(c.action, c.next)))
					return out.Verdict == arc.VerdictHeld && out.Value == c.next
				}, 10*time.Second, time.Millisecond)
				assert.Equal(t, c.moved, get(file))
				end(now)
				require.Eventually(t, unfrozen, 10*time.Second, time.Millisecond)
				assert.Equal(t, before, settings(t, dir), name)
			}
			require.NoError(t, g.Close())
		})
	}

	t.Run("a device that is not there", func(t *testing.T) {
		g := start()
		o := orderOn(arc.ActionIOMaxRead, 3*mib)
		o.Device = 4000<<32 | 7
		out := act(t, g, of(instant(g), o))
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Contains(t, out.Cause, "there is no device 4000:7")
		assert.Equal(t, before, settings(t, dir))
		require.NoError(t, g.Close())
	})

	t.Run("coupled", func(t *testing.T) {
		if !has("cpu.idle") {
			return
		}
		for _, turn := range orders {
			for kill := range 4 {
				g := start()
				now := instant(g)
				for i, action := range turn {
					o := orderOn(action, map[arc.Action]uint64{weight: 10, idle: 1}[action])
					if i >= 2 {
						o.Verb = arc.Release
					}
					out := act(t, g, of(now, o))
					require.NotEqual(t, arc.VerdictRefused, out.Verdict, out.Cause)
					require.NotEqual(t, arc.VerdictFailed, out.Verdict, out.Cause)
					if i == kill {
						abandon(g)
						g = start()
						break
					}
				}
				assert.Equal(t, before, settings(t, dir), "%v killed after %d", turn, kill)
				assert.Empty(t, g.Status().Losses)
				require.NoError(t, g.Close())
			}
		}
	})

	t.Run("threads", func(t *testing.T) {
		child := filepath.Join(dir, "threads")
		require.NoError(t, os.Mkdir(child, 0o755))
		defer os.Remove(child)
		require.NoError(t, os.WriteFile(filepath.Join(child, "cgroup.type"), []byte("threaded"), 0))
		require.Equal(t, "domain threaded", get("cgroup.type"))
		g := start()
		for _, action := range []arc.Action{arc.ActionMemoryHigh, arc.ActionCPUMax} {
			out := act(t, g, of(instant(g), orderOn(action, 300*mib)))
			assert.NotContains(t, out.Cause, "cannot be known")
		}
		out := act(t, g, of(instant(g), orderOn(arc.ActionPidsMax, 100)))
		assert.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
		below, err := g.root.OpenPath("/" + filepath.Base(dir) + "/threads")
		require.NoError(t, err)
		defer below.Close()
		o := orderOn(arc.ActionCPUMax, 100_000)
		o.Cgroup = below.ID()
		out = act(t, g, of(instant(g), o))
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Contains(t, out.Cause, "only its domain holds whole")
		require.NoError(t, g.Close())
	})
}
