// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestIdleIsAWeight(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("cpu.weight", 100, 20)
	w.round()
	l := w.hold("cpu.idle", 0, 1)
	l.Coupled = map[string]uint64{"cpu.weight": 20}
	w.write("/system.slice/a.service", "cpu.weight", 0)
	w.round()
	assert.Equal(t, uint64(idle), w.get("CPUWeight"))
	w.drop("cpu.idle")
	w.round()
	assert.Equal(t, uint64(20), w.get("CPUWeight"), "the other lease is known to be held")
	w.drop("cpu.weight")
	w.round()
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("CPUWeight"))

	l = w.hold("cpu.idle", 0, 1) // alone
	l.Coupled = map[string]uint64{"cpu.weight": 100}
	w.write("/system.slice/a.service", "cpu.weight", 0)
	w.round()
	assert.Equal(t, uint64(idle), w.get("CPUWeight"))
}

func TestWhatSystemdIsNotToldOf(t *testing.T) {
	const a = "/system.slice/a.service"
	for name, set := range map[string]func(w *world){
		"an observed lease":     func(w *world) { w.hold("memory.high", arc.Unlimited, 300*mib).Observed = true },
		"a lease being written": func(w *world) { *w.hold("memory.high", 0, 0) = busy("memory.high") },
		"the network":           func(w *world) { w.hold("network.throttle", arc.Unlimited, 1000) },
		"a device":              func(w *world) { w.hold("io.max.write", arc.Unlimited, 1000) },
		"a slice": func(w *world) {
			w.unit("/x.slice", nil)
			w.holdOn("/x.slice", 11, "memory.high", arc.Unlimited, 300*mib)
		},
		"a cgroup below a unit's": func(w *world) {
			w.holdOn("/system.slice/a.service/worker", 11, "memory.high", arc.Unlimited, 300*mib)
		},
		"a cgroup of a unit's name elsewhere": func(w *world) {
			w.holdOn("/other.slice/a.service", 11, "memory.high", arc.Unlimited, 300*mib)
		},
		"an original that is not the unit's":                   func(w *world) { w.hold("memory.high", 900*mib, 300*mib) },
		"a limit that is not the unit's":                       func(w *world) { w.write(a, "memory.max", 512*mib); w.hold("memory.high", arc.Unlimited, 300*mib) },
		"a limit of another controller that is not the unit's": func(w *world) { w.write(a, "pids.max", 100); w.hold("memory.high", arc.Unlimited, 300*mib) },
		"what is held beside what it cannot be told": func(w *world) {
			w.hold("cpu.max", arc.Unlimited, 505_000)
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"the same, the other way round": func(w *world) {
			w.hold("memory.high", arc.Unlimited, 300*mib)
			w.hold("cpu.max", arc.Unlimited, 505_000)
		},
		"a cgroup that is gone": func(w *world) {
			require.NoError(w.tb, os.RemoveAll(w.path(a)))
			delete(w.units, "a.service")
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"a property that this systemd has not": func(w *world) {
			delete(w.units["a.service"], "MemoryHigh")
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"idle without the weight before": func(w *world) { w.hold("cpu.idle", 0, 1) },
		"a property that was set for good": func(w *world) {
			file := filepath.Join(w.dir, "etc", "system.control", "a.service.d", "50-MemoryHigh.conf")
			require.NoError(w.tb, os.MkdirAll(filepath.Dir(file), 0o755))
			require.NoError(w.tb, os.WriteFile(file, nil, 0o600))
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"a property that a later file sets": func(w *world) {
			file := filepath.Join(w.dir, "override.conf")
			require.NoError(w.tb, os.WriteFile(file, []byte("[Service]\nMemoryHigh=infinity\n"), 0o600))
			w.units["a.service"]["DropInPaths"] = []string{file}
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"a property that a later file sets, with blanks": func(w *world) {
			file := filepath.Join(w.dir, "override.conf")
			require.NoError(w.tb, os.WriteFile(file, []byte("[Service]\n  MemoryHigh = 2G\n"), 0o600))
			w.units["a.service"]["DropInPaths"] = []string{file}
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"a unit that is not loaded any more": func(w *world) {
			w.units["a.service"]["LoadState"] = "bad-setting"
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"somebody else's burst": func(w *world) {
			require.NoError(w.tb, os.WriteFile(filepath.Join(w.path(a), "cpu.max.burst"), []byte("5000\n"), 0o600))
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"somebody else's set of CPUs": func(w *world) {
			require.NoError(w.tb, os.WriteFile(filepath.Join(w.path(a), "cpuset.cpus"), []byte("0-1\n"), 0o600))
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"a period that is not systemd's, of another setting": func(w *world) {
			require.NoError(w.tb, os.WriteFile(filepath.Join(w.path(a), "cpu.max"), []byte("max 50000\n"), 0o600))
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
		"a period that is not systemd's": func(w *world) {
			require.NoError(w.tb, os.WriteFile(filepath.Join(w.path(a), "cpu.max"), []byte("max 50000\n"), 0o600))
			w.hold("cpu.max", arc.Unlimited, 500_000)
		},
		"parts of a percent": func(w *world) { w.hold("cpu.max", arc.Unlimited, 505_000) },
		"anything while no notes can be written": func(w *world) {
			w.mirror.config.Notes = filepath.Join(w.dir, "none", "mirror.json")
			w.hold("memory.high", arc.Unlimited, 300*mib)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			set(w)
			w.round()
			w.round()
			assert.Empty(t, w.calls)
			assert.Empty(t, w.mirror.units)
			w.held = nil
			w.round()
			assert.Empty(t, w.mirror.apart, "and forgotten with the lease")
		})
	}
}

func TestALaterFileThatSaysNothingOfItIsInNobodysWay(t *testing.T) {
	w := newWorld(t, t.TempDir())
	file := filepath.Join(w.dir, "override.conf")
	require.NoError(t, os.WriteFile(file, []byte("[Service]\nMemoryHighway=1\n"), 0o600))
	w.units["a.service"]["DropInPaths"] = []string{file}
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	assert.Len(t, w.calls, 1)
}

func TestTheKernelShowsWholePages(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.unit("/system.slice/a.service", map[string]uint64{"MemoryMax": 1_000_000_000})
	w.write("/system.slice/a.service", "memory.max", 999_997_440)
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	assert.Len(t, w.calls, 1)
}

func TestAMismatchMayPass(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.write("/system.slice/a.service", "memory.max", 512*mib)
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	assert.Empty(t, w.calls)
	w.write("/system.slice/a.service", "memory.max", 1024*mib)
	w.round()
	assert.Len(t, w.calls, 1)
}

func TestAMismatchThatStaysIsNotAskedAboutForEver(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.write("/system.slice/a.service", "memory.max", 512*mib)
	w.hold("memory.high", arc.Unlimited, 300*mib)
	for range 3 * tries {
		w.round()
	}
	assert.Equal(t, tries, w.asks)
}

func TestSystemdIsToldOfWhatIsSeenTwice(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	clear(w.mirror.seen)
	w.round()
	assert.Empty(t, w.calls)
	w.hold("pids.max", arc.Unlimited, 80)
	w.round()
	require.Len(t, w.calls, 1)
	assert.Len(t, w.calls[0], 2, "what came a moment later as well")
}

// systemd goes on listing a drop-in that was removed until it is reloaded.
func TestADropInThatWasRemovedIsInNobodysWay(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("pids.max", arc.Unlimited, 80)
	w.round()
	s := settingOf("TasksMax")
	w.units["a.service"]["DropInPaths"] = []string{dropIns(filepath.Join(w.dir, "run"), "a.service", &s)[0]}
	w.held = nil
	w.round()
	w.round()
	require.Empty(t, w.left())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
}
