// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

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
