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
