// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/faultpoint"
	"github.com/otelcol-reflex/reflex/test/vmtest"
)

// TestKillsInAMachine plays a sample of the matrix; make crash plays all of it.
func TestKillsInAMachine(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		vmtest.SkipUnlessRequired(t, vmtest.ErrNoQEMU)
	}
	var said bytes.Buffer
	r, err := VM{Kernel: "6.12", Kills: 40, Seed: 1, Output: io.MultiWriter(&said, os.Stderr)}.Run(t.Context(), filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err, "%s", said.String())
	var text bytes.Buffer
	r.Print(&text)
	t.Log(text.String())
	assert.Empty(t, r.Violations)
	assert.GreaterOrEqual(t, r.Kills, 40)
	assert.LessOrEqual(t, len(r.Missed), r.Cases/10, "%q", r.Missed)
	assert.LessOrEqual(t, r.Disturbed, r.Cases/4)
	turned := 0
	for _, f := range r.Families {
		turned += f.Turned
	}
	assert.Greater(t, turned, r.Cases/3, "what was never turned proves nothing")
}

func TestTheMatrixHasEveryStep(t *testing.T) {
	all := matrix()
	for whom, names := range map[string][]string{"guard": append(slices.Clone(faultpoint.Guard), faultpoint.Start...), "collector": faultpoint.Collector} {
		for _, step := range names {
			for _, signal := range []string{"KILL", "STOP"} {
				assert.True(t, slices.ContainsFunc(all, func(s scene) bool { return s.whom == whom && s.step == step && s.signal == signal }), "%s %s at %q", signal, whom, step)
			}
		}
	}
	seen, next := map[string]int{}, schedule(7)
	for s, again := next(); !again; s, again = next() {
		seen[s.String()]++
	}
	assert.Len(t, seen, len(all)+len(chances()))
}

// plainJudge is a judge over plain files, and when the last order was sent.
func plainJudge(t *testing.T) (j *judge, sent func(ago time.Duration)) {
	t.Helper()
	a, err := newArena(t.TempDir(), []string{"/bin/sleep", "60"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.close()) })
	f, err := os.Create(filepath.Join(t.TempDir(), "sent"))
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	require.NoError(t, a.remember())
	return &judge{arena: a, ttl: time.Second, sent: f, wanted: original}, func(ago time.Duration) {
		_, err := f.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(boottime()-int64(ago))), 0)
		require.NoError(t, err)
	}
}

// TestTheJudgeSees: one that cannot see would find no violation whatever happened.
func TestTheJudgeSees(t *testing.T) {
	const ours = "104857600"
	for name, c := range map[string]struct {
		high, neighbour string
		ago             time.Duration
		alone           bool
		want            []string
	}{
		"nothing":               {high: original, ago: time.Minute},
		"a lease in its time":   {high: ours, ago: time.Second, want: []string{"no record"}},
		"a lease that is late":  {high: ours, ago: 2*time.Second + time.Millisecond, want: []string{"after the last order", "no record"}},
		"a looser limit":        {high: "max", ago: time.Second, want: []string{"where its owner wants", "no record"}},
		"a limit below floor":   {high: "4096", ago: time.Second, want: []string{"where its owner wants", "no record"}},
		"a neighbour's limit":   {high: original, neighbour: ours, want: []string{"of shop/neighbour is"}},
		"another one's turning": {high: ours, ago: time.Second, alone: true, want: []string{"another cgroup", "no record"}},
	} {
		t.Run(name, func(t *testing.T) {
			j, sent := plainJudge(t)
			sent(c.ago)
			j.alone = c.alone
			require.NoError(t, j.arena.write(target, "memory.high", c.high))
			if c.neighbour != "" {
				require.NoError(t, j.arena.write("shop/neighbour", "memory.high", c.neighbour))
			}
			j.look()
			broken := j.seen().broken
			require.Len(t, broken, len(c.want), "%q", broken)
			for i, want := range c.want {
				assert.Contains(t, broken[i], want)
			}
			assert.Equal(t, c.high != original, j.seen().turned)
		})
	}
}

func TestAnySettingThatChangesIsSeen(t *testing.T) {
	j, _ := plainJudge(t)
	changed, err := j.arena.untouched()
	require.NoError(t, err)
	assert.Empty(t, changed)
	require.NoError(t, j.arena.write(target, "memory.max", "4096"))
	changed, err = j.arena.untouched()
	require.NoError(t, err)
	assert.Contains(t, changed, "shop/target/memory.max")
}
