// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// crash is what a test throws through the guard to stop it between two
// instructions, as SIGKILL would.
type crash struct{}

// abandon forgets a guard without letting it do anything.
func abandon(g *Guard) {
	g.mu.Lock()
	g.closed, g.books = true, [2]map[leaseKey]*lease{{}, {}}
	g.mu.Unlock()
	g.root.Close()
	g.unlock()
}

func TestAGuardKilledAtAnyStepLeavesNothingBehindForTheNext(t *testing.T) {
	const path = "a"
	run := func(g *Guard, m *machine, id uint64) {
		var out arc.Outcome
		g.Act(context.Background(), hold(id, 130*mib), &out)
		m.advance(2 * second)
		g.Act(context.Background(), hold(id, 250*mib), &out) // needs a new interval
		g.Act(context.Background(), releaseOf(id), &out)
	}
	for _, original := range []uint64{arc.Unlimited, 800 * mib} {
		for k := 0; ; k++ {
			m := newMachine(t)
			id := m.cgroup(t, path)
			m.set(t, path, "memory.high", string(cgroupfs.AppendUint(nil, original)))
			g := m.guard(t)
			step, name := 0, ""
			g.fault = func(s string, _ uint64) error {
				if step++; step == k {
					name = s
					panic(crash{})
				}
				return nil
			}
			func() {
				defer func() {
					if r := recover(); r != nil && r != any(crash{}) {
						panic(r)
					}
				}()
				run(g, m, id)
			}()
			if k > 0 && name == "" {
				assert.Greater(t, k, 10, "the run has steps")
				break
			}
			abandon(g)
			if m.high(t, path) != original {
				assert.NotEmpty(t, m.record(id), "killed at step %d (%s): a turned knob has a record", k, name)
			}
			m.change = func(c *Config) { c.BootID = "another boot" }
			next := m.guard(t)
			assert.Equal(t, original, m.high(t, path), "killed at step %d (%s)", k, name)
			assert.Empty(t, m.record(id), "killed at step %d (%s)", k, name)
			assert.Empty(t, next.Status().Losses)
			require.NoError(t, next.Close())
		}
	}
}

func TestAForeignValueSurvivesTheNextGuard(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	abandon(g)
	m.set(t, "a", "memory.high", bytesOf(700*mib))
	next := m.guard(t)
	assert.Equal(t, 700*mib, m.high(t, "a"))
	assert.Empty(t, m.record(id))
	assert.Equal(t, []Loss{{Cgroup: id, Times: 1}}, next.Status().Losses)
}

func TestWhatCannotBeGivenBackIsTriedAgain(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	g.fault = func(string, uint64) error { return errors.New("not now") }
	out := act(t, g, releaseOf(id))
	assert.Equal(t, arc.VerdictFailed, out.Verdict)
	assert.Contains(t, out.Cause, "not now")
	assert.NotEmpty(t, m.record(id))
	g.Patrol()
	assert.Equal(t, 130*mib, m.high(t, "a"))
	g.fault = nil
	g.Patrol()
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Empty(t, m.record(id))
}

// TestWhateverHappensTheOwnersValueIsSafe lets orders, owners, time, failures
// and deaths come in any order and looks after every single write.
func TestWhateverHappensTheOwnersValueIsSafe(t *testing.T) {
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		top := filepath.Join(base, strconv.Itoa(run))
		m := &machine{dir: filepath.Join(top, "cgroup"), kill: filepath.Join(top, "off"), procs: filepath.Join(top, "proc"), attrs: &cgroupfs.Memory{}}
		m.clock.Store(second)
		require.NoError(rt, os.MkdirAll(m.dir, 0o755))
		defer os.RemoveAll(top)
		s := &world{t: t, rt: rt, m: m, owner: arc.Unlimited}
		s.id = m.cgroup(t, "a")
		s.start()
		defer func() { abandon(s.g) }()
		rt.Repeat(map[string]func(*rapid.T){
			"hold": func(rt *rapid.T) {
				o := hold(s.id, uint64(rapid.IntRange(0, 400).Draw(rt, "MiB"))*mib)
				o.Generation = uint64(rapid.IntRange(0, 3).Draw(rt, "generation"))
				o.Observe = rapid.IntRange(0, 4).Draw(rt, "observe") == 0
				s.try(rt, func() { s.act(rt, o) })
			},
			"release": func(rt *rapid.T) {
				o := releaseOf(s.id)
				o.Generation = uint64(rapid.IntRange(0, 3).Draw(rt, "generation"))
				s.try(rt, func() { s.act(rt, o) })
			},
			"time passes": func(rt *rapid.T) {
				m.advance(int64(rapid.IntRange(1, 8000).Draw(rt, "ms")) * second / 1000)
				s.try(rt, s.g.Patrol)
			},
			"usage changes": func(rt *rapid.T) {
				m.set(t, "a", "memory.current", bytesOf(uint64(rapid.IntRange(64, 300).Draw(rt, "MiB"))*mib))
			},
			"the owner writes": func(rt *rapid.T) {
				// Outside of any interval of ours: inside, after a death, nobody
				// could tell it from our own.
				s.owner = rapid.SampledFrom([]uint64{arc.Unlimited, 4096, 900 * mib}).Draw(rt, "value")
				m.set(t, "a", "memory.high", string(cgroupfs.AppendUint(nil, s.owner)))
			},
			"the guard dies": func(*rapid.T) { abandon(s.g); s.start() },
			"another boot": func(*rapid.T) {
				m.change = func(c *Config) { c.BootID = strconv.FormatInt(m.now(), 10) }
				abandon(s.g)
				s.start()
			},
			"the kill switch": func(rt *rapid.T) {
				require.NoError(rt, os.WriteFile(m.kill, nil, 0o600))
				s.g.Patrol()
				assert.Equal(rt, s.owner, m.high(t, "a"), "with the kill switch on")
				require.NoError(rt, os.Remove(m.kill))
			},
			"": s.check,
		})
	})
}

type world struct {
	t     *testing.T
	rt    *rapid.T
	m     *machine
	g     *Guard
	id    uint64
	owner uint64 // what memory.high's owner wants
	last  uint64 // the ceiling of the lease held, 0 without
}

// start starts a guard, which must leave things as the owner wants them.
func (w *world) start() {
	g, err := New(w.m.config())
	require.NoError(w.t, err)
	g.safe.procs = w.m.procs
	w.g, w.last = g, 0
	g.fault = func(step string, _ uint64) error { w.check(w.rt); return nil }
	require.Equal(w.rt, w.owner, w.m.high(w.t, "a"), "after a start")
	require.Empty(w.rt, w.m.record(w.id), "after a start")
}

// check holds at every instant: a knob that is not as its owner wants it is
// tighter, and has a record that says how to get back.
func (w *world) check(rt *rapid.T) {
	v := w.m.high(w.t, "a")
	if v == w.owner {
		return
	}
	require.Less(rt, v, w.owner, "never looser than the owner wants")
	r, err := decode(w.m.record(w.id))
	require.NoError(rt, err, "a turned knob has a record")
	require.True(rt, r.ours(v), "%d is not between %d and %d", v, r.Low, r.High)
	require.Equal(rt, w.owner, uint64(r.Original))
}

// try runs what may fail or die at one of its writes.
func (w *world) try(rt *rapid.T, do func()) {
	what, at := rapid.IntRange(0, 3).Draw(rt, "trouble"), rapid.IntRange(1, 6).Draw(rt, "at write")
	n := 0
	w.g.fault = func(string, uint64) error {
		w.check(rt)
		if n++; n == at {
			switch what {
			case 1:
				panic(crash{})
			case 2:
				return errors.New("injected failure")
			}
		}
		return nil
	}
	died := true
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(crash{}) {
				panic(r)
			}
		}()
		do()
		died = false
	}()
	if died {
		abandon(w.g)
		w.start()
		return
	}
	w.g.fault = nil
}

func (w *world) act(rt *rapid.T, o arc.Order) {
	var out arc.Outcome
	before := w.m.high(w.t, "a")
	require.NoError(rt, w.g.Act(context.Background(), o, &out))
	after := w.m.high(w.t, "a")
	switch out.Verdict {
	case arc.VerdictObserved:
		require.Equal(rt, before, after, "observing writes nothing")
	case arc.VerdictGranted:
		usage, err := os.ReadFile(filepath.Join(w.m.dir, "a", "memory.current"))
		require.NoError(rt, err)
		floor, _ := cgroupfs.ParseUint(usage)
		require.GreaterOrEqual(rt, after, floor, "never below usage")
		w.last = after
	case arc.VerdictHeld:
		require.GreaterOrEqual(rt, after, w.last, "within a lease the ceiling only rises")
		w.last = after
	}
}
