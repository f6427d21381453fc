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
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Whatever happens meanwhile: a second after nothing is held any more, every unit and
// every file is as it was, and nothing is left behind.
func TestWhateverHappensUnitsAreAsTheyWereInTheEnd(t *testing.T) {
	originals := map[string]uint64{"memory.high": arc.Unlimited, "cpu.weight": 100, "cpu.max": arc.Unlimited, "pids.max": arc.Unlimited, "io.weight": 100}
	files := []string{"memory.high", "memory.max", "cpu.weight", "cpu.max", "pids.max", "io.weight"}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp("", "mirror-") //nolint:usetesting // one for every check
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		w := newWorld(t, dir)
		before := w.contents(files)
		knobs := rapid.SampledFrom([]string{"memory.high", "cpu.weight", "cpu.max", "pids.max", "io.weight"})
		rt.Repeat(map[string]func(*rapid.T){
			"hold": func(rt *rapid.T) {
				knob := knobs.Draw(rt, "knob")
				v := rapid.Uint64Range(1, 9).Draw(rt, "value") * 10
				w.write("/system.slice/a.service", knob, v)
				w.hold(knob, originals[knob], v)
			},
			"end": func(rt *rapid.T) {
				knob := knobs.Draw(rt, "knob")
				w.drop(knob)
				w.write("/system.slice/a.service", knob, originals[knob])
			},
			"end while systemd is told": func(rt *rapid.T) {
				knob, look, looks := knobs.Draw(rt, "knob"), rapid.IntRange(2, 4).Draw(rt, "look"), 0
				w.asked = func() {
					if looks++; looks == look {
						w.drop(knob)
						w.write("/system.slice/a.service", knob, originals[knob])
					}
				}
				_ = w.mirror.Round(t.Context())
				w.asked = nil
			},
			"round":  func(*rapid.T) { _ = w.mirror.Round(t.Context()) },
			"killed": func(*rapid.T) { w.start() },
			"silent": func(*rapid.T) { w.silent = !w.silent },
			"no word": func(rt *rapid.T) {
				if w.fails = nil; rapid.Bool().Draw(rt, "fails") {
					w.fails = errors.New("no answer")
				}
				w.mute = rapid.Bool().Draw(rt, "mute")
			},
			"reload": func(*rapid.T) { w.reload("a.service") },
			"": func(rt *rapid.T) {
				for _, u := range w.mirror.units {
					for name, p := range u.Properties {
						s := settingOf(name)
						require.Equal(rt, originals[s.file], min(s.shown(p.Before), arc.Unlimited), "what comes back is what was there")
					}
				}
			},
		})
		w.silent, w.fails, w.mute, w.held = false, nil, false, nil
		for _, knob := range []string{"memory.high", "cpu.weight", "cpu.max", "pids.max", "io.weight"} {
			w.write("/system.slice/a.service", knob, originals[knob]) // the guard gave it back
		}
		for range patience {
			require.NoError(rt, w.mirror.Round(t.Context()))
		}
		assert.Empty(rt, w.left())
		assert.Equal(rt, uint64(unlimited), w.get("MemoryHigh"))
		assert.Equal(rt, before, w.contents(files))
		w.reload("a.service")
		assert.Equal(rt, before, w.contents(files), "and as systemd will write it")
	})
}

func (w *world) contents(files []string) map[string]string {
	w.tb.Helper()
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(w.path("/system.slice/a.service"), f))
		require.NoError(w.tb, err)
		all[f] = string(text)
	}
	return all
}
