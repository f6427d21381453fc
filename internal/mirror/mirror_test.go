// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestSystemdIsToldOfALeaseAndOfItsEnd(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
	w.round()
	assert.Len(t, w.calls, 1, "nothing has changed")
	w.hold("memory.high", arc.Unlimited, 364*mib)
	w.round()
	assert.Equal(t, uint64(364*mib), w.get("MemoryHigh"), "the interval is another one")

	w.drop("memory.high")
	w.round()
	assert.Equal(t, uint64(364*mib), w.get("MemoryHigh"), "it may be back in a moment")
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
	assert.Equal(t, uint64(1024*mib), w.get("MemoryMax"))
}

func TestALeaseThatEndsWhileSystemdIsTold(t *testing.T) {
	for name, tt := range map[string]struct{ look, calls int }{
		"just before is not told":          {2, 0},
		"just after is taken back at once": {3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.hold("memory.high", arc.Unlimited, 300*mib)
			looks := 0
			w.asked = func() {
				if looks++; looks == tt.look {
					w.held = nil
				}
			}
			w.round()
			assert.Len(t, w.calls, tt.calls)
			assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
			w.round()
			assert.Empty(t, w.left())
		})
	}
}

func TestSystemdIsToldWhatHasChanged(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("cpu.weight", 100, 20)
	w.hold("cpu.max", arc.Unlimited, 500_000)
	w.round()
	require.Len(t, w.calls, 1)
	assert.Equal(t, map[string]uint64{"CPUWeight": 20, "CPUQuotaPerSecUSec": 500_000}, w.calls[0])
	w.drop("cpu.weight")
	w.round()
	w.round()
	require.Len(t, w.calls, 2)
	assert.Equal(t, map[string]uint64{"CPUWeight": unlimited}, w.calls[1], "the other stays as it is")
	assert.Equal(t, uint64(500_000), w.get("CPUQuotaPerSecUSec"))
	w.hold("pids.max", arc.Unlimited, 80)
	w.round()
	require.Len(t, w.calls, 3)
	assert.Equal(t, map[string]uint64{"TasksMax": 80}, w.calls[2])
	w.held = nil
	w.round()
	w.round()
	assert.Empty(t, w.left())
}

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

func TestWhatIsBeingWrittenStaysAsItWasTold(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.held[0] = busy("memory.high")
	for range 3 {
		w.round()
	}
	assert.Len(t, w.calls, 1)
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
}

func TestAMirrorThatWasKilledGoesOnFromItsNotes(t *testing.T) {
	for name, held := range map[string]bool{"still held": true, "over": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, t.TempDir())
			w.hold("memory.high", arc.Unlimited, 300*mib)
			w.round()
			w.start()
			if !held {
				w.held = nil
			}
			w.round()
			w.round()
			if held {
				assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
				w.held = nil
				w.round()
				w.round()
			}
			assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
			assert.Empty(t, w.left())
		})
	}
}

func TestNotesThatCannotBeUnderstoodAreSetAside(t *testing.T) {
	for _, text := range []string{"{", "[null]", `[{"cgroup": "/x"}]`, `[{"unit": "x", "properties": {"MemoryHigh": null}}]`, `[{"unit": "x", "properties": {"Nice": {}}}]`} {
		dir := t.TempDir()
		notes := filepath.Join(dir, "mirror.json")
		require.NoError(t, os.WriteFile(notes, []byte(text), 0o600))
		w := newWorld(t, dir)
		w.hold("memory.high", arc.Unlimited, 300*mib)
		w.round()
		assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"), text)
		kept, err := os.ReadFile(notes + ".damaged")
		require.NoError(t, err)
		assert.Equal(t, text, string(kept))
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "mirror.json"), 0o700))
	_, err := New(Config{Notes: filepath.Join(dir, "mirror.json")})
	assert.ErrorContains(t, err, "what a former mirror told systemd")
}

func TestWithoutAGuardEverythingIsTakenBack(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.silent = true
	for range unheard - 1 {
		w.round()
	}
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"), "it is being started again")
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
}

func TestSystemdThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.fails = errors.New("it is being executed again")
	w.round()
	w.fails = nil
	w.round()
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
	w.held = nil
	w.round()
	w.fails = errors.New("it is being executed again")
	require.ErrorContains(t, w.mirror.Round(t.Context()), "executed again")
	assert.NotEmpty(t, w.left(), "the notes are still there")
	w.fails = nil
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
}

func TestAUnitThatIsGoneTookItsSettingsAlong(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	delete(w.units, "a.service")
	w.held = nil
	w.round()
	w.round()
	assert.Empty(t, w.mirror.units)
	assert.Empty(t, w.left())
}

func TestAUnitThatWasStartedAgainIsFirstPutBack(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.held = nil
	w.holdOn("/system.slice/a.service", 11, "memory.high", 300*mib, 200*mib) // what systemd gave its new cgroup
	w.round()
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	w.held = nil
	w.round()
	w.holdOn("/system.slice/a.service", 11, "memory.high", arc.Unlimited, 200*mib).Generation = 2
	w.round()
	w.round()
	assert.Equal(t, uint64(200*mib), w.get("MemoryHigh"))
}

func TestASettingThatSomebodyMadeAtRuntimeStays(t *testing.T) {
	w := newWorld(t, t.TempDir())
	s := settingOf("MemoryHigh")
	w.allow("MemoryHigh", 900*mib)
	require.NoError(t, w.Set(t.Context(), "a.service", map[string]uint64{"MemoryHigh": 900 * mib}))
	w.hold("memory.high", 900*mib, 300*mib)
	w.round()
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
	w.held = nil
	w.round()
	w.round()
	assert.Equal(t, uint64(900*mib), w.get("MemoryHigh"))
	text, err := os.ReadFile(dropIns(filepath.Join(w.dir, "run"), "a.service", &s)[0])
	require.NoError(t, err, "it was there before")
	assert.Contains(t, string(text), "MemoryHigh=943718400")
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

func TestWhatAnAdministratorSetsMeanwhileIsTheirs(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.allow("MemoryHigh", 900*mib)
	require.NoError(t, w.Set(t.Context(), "a.service", map[string]uint64{"MemoryHigh": 900 * mib}))
	w.held = nil // lost
	w.round()
	w.round()
	assert.Equal(t, uint64(900*mib), w.get("MemoryHigh"))
	assert.Empty(t, w.mirror.units)
	s := settingOf("MemoryHigh")
	assert.FileExists(t, dropIns(filepath.Join(w.dir, "run"), "a.service", &s)[0])
}

// A call that ends in an error may have been carried out.
func TestWhatSystemdDidNotConfirmIsTakenBack(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.mute = true
	require.Error(t, w.mirror.Round(t.Context()))
	require.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
	w.mute, w.held = false, nil
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
}

func TestAMirrorThatWasKilledSaysNothingThatItDoesNotKnow(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.hold("pids.max", arc.Unlimited, 80)
	w.round()
	w.start()
	w.drop("memory.high")
	w.hold("pids.max", arc.Unlimited, 90)
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Equal(t, uint64(90), w.get("TasksMax"))
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

// Told of one lease, systemd would take back one that it is not told of yet.
func TestSystemdIsToldOfAUnitsLeasesTogether(t *testing.T) {
	for name, begins := range map[string]func(w *world) (settle func()){
		"one was not there at the last look": func(w *world) func() {
			l := w.hold("pids.max", arc.Unlimited, 80)
			delete(w.mirror.seen, leaseOf(l))
			return func() {}
		},
		"one is being written": func(w *world) func() {
			w.hold("pids.max", arc.Unlimited, 80).Busy = true
			return func() { w.hold("pids.max", arc.Unlimited, 80) }
		},
		"what is in the way of one may pass": func(w *world) func() {
			w.hold("pids.max", 500, 80)
			return func() { w.hold("pids.max", arc.Unlimited, 80) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, told := range []bool{false, true} {
				w := newWorld(t, t.TempDir())
				w.hold("memory.high", arc.Unlimited, 300*mib)
				if told {
					w.round()
					w.calls = nil
					w.hold("memory.high", arc.Unlimited, 364*mib)
				}
				settle := begins(w)
				w.round()
				assert.Empty(t, w.calls)
				settle()
				w.round()
				require.Len(t, w.calls, 1)
				assert.Len(t, w.calls[0], 2)
			}
		})
	}
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

func TestALimitIsTakenBackWhetherThatCanBeNotedOrNot(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	require.NoError(t, os.Mkdir(w.mirror.config.Notes+".next", 0o700)) // a full disk
	w.held = nil
	w.round()
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
}

func TestWhatSystemdRefusesIsNotToldAgain(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	l := w.hold("cpu.idle", 0, 1)
	l.Coupled = map[string]uint64{"cpu.weight": 100}
	w.write("/system.slice/a.service", "cpu.weight", 0)
	w.refused = map[string]bool{"CPUWeight": true}
	w.round()
	w.drop("memory.high")
	for range 3 * tries {
		w.round()
	}
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"), "what is over is told by itself")
	assert.Equal(t, uint64(unlimited), w.get("CPUWeight"))
	assert.Equal(t, 1, w.refusals)
	assert.Empty(t, w.left())
}

// What systemd was told before it refused a move is still taken back.
func TestARefusedMoveForgetsNothing(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.refused = map[string]bool{"MemoryHigh": true}
	w.hold("memory.high", arc.Unlimited, 364*mib)
	w.round()
	assert.Equal(t, uint64(300*mib), w.get("MemoryHigh"))
	w.refused = nil
	w.held = nil
	w.round()
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
}

func TestAUnitThatIsNotLoadedAnyMoreIsLeft(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.units["a.service"]["LoadState"] = "masked"
	w.refused = map[string]bool{"MemoryHigh": true}
	w.held = nil
	w.round()
	w.round()
	assert.Empty(t, w.left(), "the next time that it is loaded, it finds nothing")
	assert.Empty(t, w.mirror.units)
}

// systemd writes everything: what it is not told of would be lost for what has moved.
func TestAMoveIsNotToldWhereItWouldTakeSomethingBack(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.hold("cpu.max", arc.Unlimited, 505_000) // parts of a percent: never told
	w.round()
	w.hold("memory.high", arc.Unlimited, 364*mib)
	w.round()
	w.round()
	require.Len(t, w.calls, 1)
	w.drop("cpu.max")
	w.round()
	assert.Equal(t, uint64(364*mib), w.get("MemoryHigh"))
	w.write("/system.slice/a.service", "memory.max", 512*mib) // by hand
	w.hold("memory.high", arc.Unlimited, 400*mib)
	w.round()
	assert.Len(t, w.calls, 2)
	w.held = nil
	w.round()
	w.round()
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"), "its end is told whatever that costs")
}

func TestAnEndWaitsForNobodyForLong(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.hold("pids.max", arc.Unlimited, 80).Busy = true
	w.drop("memory.high")
	for range patience + waits {
		w.round()
	}
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
}

// An administrator's setting that is kept for good does not replace ours in /run.
func TestASettingThatSomebodyMadeForGoodLeavesNothingOfOurs(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.units["a.service"]["MemoryHigh"] = uint64(900 * mib)
	w.held = nil
	w.round()
	w.round()
	assert.Equal(t, uint64(900*mib), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
}

func TestTheEndOfAMirrorIsTriedUntilItIsDone(t *testing.T) {
	w := newWorld(t, t.TempDir())
	w.hold("memory.high", arc.Unlimited, 300*mib)
	w.round()
	w.fails = errors.New("it is being executed again")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.failing = 2
	require.NoError(t, w.mirror.Run(ctx))
	assert.Equal(t, uint64(unlimited), w.get("MemoryHigh"))
	assert.Empty(t, w.left())
}
