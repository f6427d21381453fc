// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// asTenant makes the test binary a process that only waits to be killed.
const asTenant = "REFLEX_TEST_TENANT"

func TestMain(m *testing.M) {
	if os.Getenv(asTenant) != "" {
		time.Sleep(5 * time.Minute)
		return
	}
	os.Exit(m.Run())
}

// tenant starts a process in a cgroup of its own in the machine's cgroup v2. It
// skips where the memory controller is not enabled there.
func tenant(t *testing.T) (dir string, id uint64) {
	t.Helper()
	mount, err := cgroupfs.FindRoot()
	if err != nil {
		t.Skip(err)
	}
	for _, r := range requirements(mount) {
		if !r.Present {
			t.Skipf("%s: %s", r.Name, r.Cause)
		}
	}
	dir = filepath.Join(mount, "reflex-guard-test-"+strconv.Itoa(os.Getpid()))
	require.NoError(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { os.Remove(dir) })
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), asTenant+"=1")
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0))
	r, err := cgroupfs.OpenRoot(mount)
	require.NoError(t, err)
	defer r.Close()
	d, err := r.OpenPath("/" + filepath.Base(dir))
	require.NoError(t, err)
	defer d.Close()
	return dir, d.ID()
}

// instant is the present one, of which a lease that is decided now is.
func instant(g *Guard) uint64 { return uint64(g.config.Clock()) }

// of is an order of a lease that was decided at an instant.
func of(generation uint64, o arc.Order) arc.Order {
	o.Generation = generation
	return o
}

func TestALeaseOnTheKernel(t *testing.T) {
	dir, id := tenant(t)
	high := func() uint64 {
		text, err := os.ReadFile(filepath.Join(dir, "memory.high"))
		require.NoError(t, err)
		v, ok := cgroupfs.ParseUint(text)
		require.True(t, ok)
		return v
	}
	config := Config{KillSwitch: filepath.Join(t.TempDir(), "off")}
	start := func() *Guard {
		g, err := New(config)
		require.NoError(t, err)
		t.Cleanup(func() { g.Close() })
		return g
	}
	g := start()
	assert.Empty(t, Missing(g.Requirements()))
	now := instant(g)
	out := act(t, g, of(now, hold(id, 300*mib+1)))
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	assert.Equal(t, 300*mib+4096, high(), "the kernel keeps what was written")
	require.Eventually(t, func() bool { // on a real clock the next write has to be allowed first
		out := act(t, g, of(now, hold(id, 310*mib)))
		return out.Verdict == arc.VerdictHeld && high() == 310*mib
	}, 10*time.Second, time.Millisecond)

	root, err := g.root.OpenPath("/")
	require.NoError(t, err)
	defer root.Close()
	assert.Equal(t, arc.VerdictRefused, act(t, g, of(now, hold(root.ID(), 300*mib))).Verdict)
	act(t, g, of(now, hold(id, 0)))
	assert.Equal(t, 310*mib, high(), "it only rises")

	abandon(g) // as if killed
	g = start()
	assert.Equal(t, arc.Unlimited, high(), "the next guard gives it back")

	assert.Equal(t, errSpent.Error(), act(t, g, of(now, hold(id, 300*mib))).Cause, "which knows nothing of what was decided before")
	now = instant(g)
	require.Equal(t, arc.VerdictGranted, act(t, g, of(now, hold(id, 300*mib))).Verdict)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "memory.high"), []byte("400M"), 0))
	assert.Equal(t, arc.VerdictLost, act(t, g, of(now, hold(id, 310*mib))).Verdict)
	assert.Equal(t, 400*mib, high())
	now = instant(g)
	require.Equal(t, arc.VerdictGranted, act(t, g, of(now, hold(id, 300*mib))).Verdict)
	assert.Equal(t, arc.VerdictReleased, act(t, g, of(now, releaseOf(id))).Verdict)
	assert.Equal(t, 400*mib, high())
}
