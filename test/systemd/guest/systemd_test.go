// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// ttl is long for an emulated machine on which systemctl takes a second.
	ttl = 15 * time.Second
	// soon is within what is waited for.
	soon = time.Minute
)

// both are leases of two controllers.
var both = map[arc.Action]uint64{arc.ActionMemoryHigh: 200 * mib, arc.ActionPidsMax: 64}

// eventually is require.Eventually, and shows the journal if it fails.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
	}
	out, _ := exec.Command("journalctl", "--no-pager", "--lines=80").CombinedOutput()
	t.Fatalf("%s, not within %v\n%s", what, soon, out)
}

// told waits until systemd knows of both limits.
func told(t *testing.T, w *workload) {
	t.Helper()
	eventually(t, "systemd is told", func() bool {
		return property(t, w.unit, "MemoryHigh") != "infinity" && property(t, w.unit, "TasksMax") == "64"
	})
}

// untold waits until it does not any more, and expects nothing to be left.
func untold(t *testing.T, w *workload, before map[string]string) {
	t.Helper()
	began := time.Now()
	eventually(t, "systemd is told of the end", func() bool {
		left, err := filepath.Glob("/run/systemd/system.control/" + w.unit + ".d/*")
		return err == nil && len(left) == 0 && property(t, w.unit, "MemoryHigh") == "infinity"
	})
	t.Logf("systemd was told of the end within %v", time.Since(began).Round(10*time.Millisecond))
	same := func() bool { return assert.ObjectsAreEqual(before, w.settings(t)) }
	eventually(t, "every setting is as it was", same)
	systemctl(t, "daemon-reload")
	time.Sleep(time.Second)
	assert.Equal(t, before, w.settings(t), "and as systemd writes it")
}

// What systemd does with a unit's settings, again and again, while they are held.
func TestALeaseOutlivesWhatSystemdWrites(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "victim.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	for range 4 {
		systemctl(t, "daemon-reload")
		systemctl(t, "set-property", "--runtime", w.unit, "MemoryLow=1M") // has it write all of memory
		systemctl(t, "set-property", "--runtime", w.unit, "MemoryLow=0")
		time.Sleep(300 * time.Millisecond)
	}
	assert.NotEqual(t, "max", w.read(t, "memory.high"))
	assert.Equal(t, "64", w.read(t, "pids.max"))
	assert.Empty(t, h.held())
	h.release()
	require.NoError(t, os.RemoveAll("/run/systemd/system.control/"+w.unit+".d/50-MemoryLow.conf"))
	untold(t, w, before)
}

// What it does where it is not told: that is why there is a mirror.
func TestALeaseThatSystemdIsNotToldOfIsLost(t *testing.T) {
	g := startGuard(t, false)
	w := newWorkload(t, "untold.service")
	h := hold(t, g, w, map[arc.Action]uint64{arc.ActionMemoryHigh: 200 * mib}, ttl)
	require.Empty(t, h.held())
	systemctl(t, "set-property", "--runtime", w.unit, "MemoryLow=1M")
	eventually(t, "systemd has written", func() bool { return w.read(t, "memory.high") == "max" })
	out := h.act(0)
	assert.Equal(t, arc.VerdictLost, out.Verdict, out.Cause)
}

// A lease that nobody renews ends at its deadline, whatever systemd does, and is not
// brought back by it for longer than the mirror takes.
func TestALeaseEndsInTimeWhileSystemdIsReloaded(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "short.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	require.Empty(t, h.held())
	deadline := time.Now().Add(ttl)
	reloading, stop := make(chan struct{}), make(chan struct{})
	var longest time.Duration
	go func() {
		defer close(reloading)
		for {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
				began := time.Now()
				_ = exec.Command("systemctl", "daemon-reload").Run()
				longest = max(longest, time.Since(began))
			}
		}
	}()
	var restored, first time.Time
	for ; time.Now().Before(deadline.Add(15 * time.Second)); time.Sleep(20 * time.Millisecond) {
		if w.read(t, "memory.high") != "max" || w.read(t, "pids.max") != before["pids.max"] {
			restored = time.Time{}
		} else if restored.IsZero() {
			if restored = time.Now(); first.IsZero() {
				first = restored
			}
		}
	}
	close(stop)
	<-reloading
	require.False(t, restored.IsZero())
	t.Logf("the guard gave back %v after the deadline", first.Sub(deadline).Round(10*time.Millisecond))
	assert.Less(t, first.Sub(deadline), time.Second)
	t.Logf("back for good %v after the deadline, with reloads of up to %v", restored.Sub(deadline).Round(10*time.Millisecond), longest.Round(10*time.Millisecond))
	assert.Less(t, restored.Sub(deadline), 2*time.Second+2*longest)
	untold(t, w, before)
}

func TestAKilledMirrorGoesOn(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "killed.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	systemctl(t, "kill", "--signal=KILL", "reflex-mirror")
	eventually(t, "it is started again", func() bool { return property(t, "reflex-mirror", "NRestarts") == "1" })
	systemctl(t, "daemon-reload")
	time.Sleep(time.Second)
	assert.NotEqual(t, "infinity", property(t, w.unit, "MemoryHigh"))
	assert.Empty(t, h.held())
	systemctl(t, "kill", "--signal=KILL", "reflex-mirror")
	h.release()
	untold(t, w, before)
}

func TestAGuardThatIsStoppedLeavesNothingWithSystemd(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "stopped.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	require.Empty(t, h.held())
	systemctl(t, "stop", "reflexguard")
	untold(t, w, before)
}

func TestAnInterruptedMirrorTakesEverythingBack(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "interrupted.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	require.Empty(t, h.held())
	systemctl(t, "stop", "reflex-mirror")
	untold(t, w, before)
}

// A guard that dies gives back when it is started again, and the mirror follows.
func TestAKilledGuardLeavesNothingWithSystemd(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "orphan.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	require.Empty(t, h.held())
	systemctl(t, "kill", "--signal=KILL", "reflexguard") // supervisor and guard
	untold(t, w, before)
	eventually(t, "the next guard answers, whatever its capabilities", func() bool { _, err := g.Leases(t.Context()); return err == nil })
}

// systemd executes itself again, as when it is upgraded.
func TestALeaseOutlivesAnotherSystemd(t *testing.T) {
	g := startGuard(t, true)
	w := newWorkload(t, "reexec.service")
	before := w.settings(t)
	h := hold(t, g, w, both, ttl)
	told(t, w)
	systemctl(t, "daemon-reexec")
	time.Sleep(2 * time.Second)
	assert.Empty(t, h.held())
	h.release()
	untold(t, w, before)
}

// TestTheShippedUnitsStart is the README's installation: everything starts under its
// sandbox, and the collector reaches the guard and observes.
func TestTheShippedUnitsStart(t *testing.T) {
	systemctl(t, "start", "reflexguard", "reflex-mirror", "otelcol-reflex")
	t.Cleanup(func() { systemctl(t, "stop", "otelcol-reflex", "reflexguard", "reflex-mirror") })
	var out []byte
	eventually(t, "the collector answers, and has reached the guard", func() bool {
		var err error
		out, err = exec.Command("reflexctl", "status").CombinedOutput()
		return err == nil && !bytes.Contains(out, []byte("not reachable"))
	})
	t.Logf("%s", out)
	assert.Contains(t, string(out), "observe")
	for _, unit := range []string{"reflexguard", "reflex-mirror", "otelcol-reflex"} {
		assert.Equal(t, "active", property(t, unit, "ActiveState"))
		assert.Equal(t, "0", property(t, unit, "NRestarts"), unit)
	}
	group := property(t, "reflexguard", "ControlGroup")
	assert.Equal(t, "/reflex.slice/reflexguard.service", group, "a cgroup of its own")
	procs, err := os.ReadFile("/sys/fs/cgroup" + group + "/cgroup.procs")
	require.NoError(t, err)
	pids := strings.Fields(string(procs))
	assert.Len(t, pids, 2, "supervisor and guard")
	for _, pid := range pids {
		adjusted, err := os.ReadFile("/proc/" + pid + "/oom_score_adj")
		require.NoError(t, err)
		assert.Equal(t, "-999", strings.TrimSpace(string(adjusted)), "the OOM killer takes it last")
		status, err := os.ReadFile("/proc/" + pid + "/status")
		require.NoError(t, err)
		_, locked, _ := strings.Cut(string(status), "VmLck:")
		fields := strings.Fields(locked)
		require.NotEmpty(t, fields)
		kib, err := strconv.Atoi(fields[0])
		require.NoError(t, err)
		assert.Greater(t, kib, 1024, "its memory is locked")
	}
}
