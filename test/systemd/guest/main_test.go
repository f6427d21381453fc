// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

const (
	// onlyHere is set in the machine, to systemd's version.
	onlyHere = "REFLEX_SYSTEMD"
	// asWorkload makes the test binary one, of so many MiB.
	asWorkload = "REFLEX_SYSTEMD_WORKLOAD"

	mib = 1 << 20
)

func TestMain(m *testing.M) {
	if size, err := strconv.Atoi(os.Getenv(asWorkload)); err == nil {
		work(size)
	}
	if os.Getenv(onlyHere) == "" {
		fmt.Println("these tests run inside the virtual machine of package systemd only")
		return
	}
	if out, err := exec.Command("systemd-sysusers", "/usr/lib/sysusers.d/otelcol-reflex.conf").CombinedOutput(); err != nil {
		fmt.Printf("systemd-sysusers: %v: %s\n", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// work has so many MiB resident, and goes on for ever.
func work(size int) {
	memory := make([]byte, size*mib)
	for {
		for i := 0; i < len(memory); i += 4096 {
			memory[i]++
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// systemctl runs it, and returns what it printed.
func systemctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	require.NoError(t, err, "systemctl %q: %s", args, out)
	return strings.TrimSpace(string(out))
}

// property returns one of a unit's.
func property(t *testing.T, unit, name string) string {
	t.Helper()
	return systemctl(t, "show", "--value", "--property="+name, unit)
}

// workload starts a service with a cgroup of its own, which is stopped with the test.
type workload struct {
	unit, dir string
	id        uint64
}

func newWorkload(t *testing.T, unit string) *workload {
	t.Helper()
	text := "[Service]\nExecStart=/bin/guest.test\nEnvironment=" + asWorkload + "=64\nMemoryMax=600M\nCPUWeight=200\n"
	require.NoError(t, os.WriteFile("/etc/systemd/system/"+unit, []byte(text), 0o644))
	systemctl(t, "daemon-reload")
	systemctl(t, "start", unit)
	w := &workload{unit: unit, dir: "/sys/fs/cgroup" + property(t, unit, "ControlGroup")}
	t.Cleanup(func() { systemctl(t, "stop", unit) })
	var st unix.Stat_t
	require.NoError(t, unix.Stat(w.dir, &st))
	w.id = st.Ino
	require.Eventually(t, func() bool {
		usage, _ := strconv.Atoi(w.read(t, "memory.current"))
		return usage > 64*mib
	}, 20*time.Second, 50*time.Millisecond)
	return w
}

func (w *workload) read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, file))
	require.NoError(t, err)
	return strings.TrimSpace(string(text))
}

// settings are all files of the controllers that are enabled for a cgroup, but for what
// counts.
func (w *workload) settings(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"memory.*", "cpu.*", "pids.*", "io.*", "cgroup.freeze"} {
		files, err := filepath.Glob(filepath.Join(w.dir, pattern))
		require.NoError(t, err)
		for _, f := range files {
			switch name := filepath.Base(f); {
			case strings.HasSuffix(name, "max"), strings.HasSuffix(name, "high"), strings.HasSuffix(name, "low"), strings.HasSuffix(name, "min"),
				strings.HasSuffix(name, "weight"), strings.HasSuffix(name, "idle"), strings.HasSuffix(name, "freeze"):
				all[name] = w.read(t, name)
			}
		}
	}
	return all
}

// startGuard starts the shipped unit, and the mirror's or not.
func startGuard(t *testing.T, mirror bool) *guard.Client {
	t.Helper()
	if mirror {
		systemctl(t, "start", "reflex-mirror", "reflexguard")
	} else {
		systemctl(t, "start", "reflexguard")
	}
	t.Cleanup(func() { systemctl(t, "stop", "reflexguard", "reflex-mirror") })
	c := guard.Dial(guard.DefaultSocket)
	t.Cleanup(func() { _ = c.Close() })
	eventually(t, "the guard answers", func() bool { _, err := c.Leases(t.Context()); return err == nil })
	return c
}

// holder holds leases on a workload as a policy does, and renews them.
type holder struct {
	t      *testing.T
	guard  *guard.Client
	orders []arc.Order

	stop     chan struct{}
	renewing sync.WaitGroup
	mu       sync.Mutex
	bad      []arc.Outcome // of renewals that did not hold
}

func hold(t *testing.T, g *guard.Client, w *workload, parameters map[arc.Action]uint64, ttl time.Duration) *holder {
	t.Helper()
	h := &holder{t: t, guard: g, stop: make(chan struct{})}
	for action, parameter := range parameters {
		h.orders = append(h.orders, arc.Order{
			Cgroup: w.id, Action: action, Parameter: parameter, TTL: int64(ttl), Generation: boottime(t), Reason: "a test",
		})
		out := h.act(len(h.orders) - 1)
		require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	}
	h.renewing.Go(h.renew)
	t.Cleanup(func() { h.held() })
	return h
}

func (h *holder) act(i int) (out arc.Outcome) {
	if err := h.guard.Act(context.Background(), h.orders[i], &out); err != nil {
		out.Verdict, out.Cause = arc.VerdictFailed, err.Error()
	}
	return out
}

func (h *holder) renew() {
	for {
		select {
		case <-h.stop:
			return
		case <-time.After(200 * time.Millisecond):
		}
		for i := range h.orders {
			if out := h.act(i); out.Verdict != arc.VerdictHeld {
				h.mu.Lock()
				h.bad = append(h.bad, out)
				h.mu.Unlock()
			}
		}
	}
}

// held ends the renewals, and returns those that did not hold.
func (h *holder) held() []arc.Outcome {
	select {
	case <-h.stop:
	default:
		close(h.stop)
	}
	h.renewing.Wait()
	return h.bad
}

// release ends renewals and leases.
func (h *holder) release() {
	h.t.Helper()
	h.held()
	for i := range h.orders {
		h.orders[i].Verb = arc.Release
		require.Equal(h.t, arc.VerdictReleased, h.act(i).Verdict)
	}
}

func boottime(t *testing.T) uint64 {
	t.Helper()
	var ts unix.Timespec
	require.NoError(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts))
	return uint64(ts.Nano())
}
