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

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// played is what happens to each knob: what orders ask for, in units of unit, and
// what its owner writes. The latter is outside of any interval of ours: inside,
// after a death, nobody could tell it from our own.
var played = map[arc.Action]struct {
	least, most int
	unit        uint64
	file        string
	owner       []string
}{
	arc.ActionMemoryHigh: {0, 400, mib, "memory.high", []string{"max", "4096", bytesOf(900 * mib)}},
	arc.ActionCPUWeight:  {2, 49, 1, "cpu.weight", []string{"1", "70", "200"}},
	arc.ActionCPUIdle:    {1, 1, 1, "cpu.idle", []string{"0", "1"}},
	arc.ActionCPUMax:     {0, 900, 1000, "cpu.max", []string{"max 100000", "2000 100000", "400000 200000"}},
	arc.ActionIOWeight:   {2, 49, 1, "io.weight", []string{"default 1", "default 100", "default 200"}},
	arc.ActionIOMaxRead:  {0, 20, mib, "io.max", []string{"8:16 rbps=4096", "8:16 rbps=max", "8:16 rbps=100000000"}},
	arc.ActionIOMaxWrite: {0, 20, mib, "io.max", []string{"8:16 wbps=4096", "8:16 wbps=max", "8:16 wbps=100000000 riops=70"}},
	arc.ActionPidsMax:    {0, 400, 1, "pids.max", []string{"max", "10", "1000"}},
	arc.ActionFreeze:     {1, 1, 1, "cgroup.freeze", []string{"0", "1"}},
}

// TestWhateverHappensTheOwnersValueIsSafe lets orders about every knob, owners,
// time, failures and deaths come in any order and looks after every single write.
func TestWhateverHappensTheOwnersValueIsSafe(t *testing.T) {
	require.Len(t, played, len(newKnobs()))
	actions := make([]arc.Action, 0, len(played))
	for action := range arc.NumActions {
		if _, known := played[action]; known {
			actions = append(actions, action)
		}
	}
	base := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		top := filepath.Join(base, strconv.Itoa(run))
		m := &machine{dir: filepath.Join(top, "cgroup"), kill: filepath.Join(top, "off"), procs: filepath.Join(top, "proc"), attrs: &cgroupfs.Memory{}}
		m.clock.Store(second)
		require.NoError(rt, os.MkdirAll(m.dir, 0o755))
		defer os.RemoveAll(top)
		boot := ""
		m.change = func(c *Config) {
			c.MaxLeases, c.GrantsPerMinute = 100, 1000
			c.BootID += boot
		}
		s := newWorld(t, rt, m)
		defer s.root.Close()
		defer func() { abandon(s.g) }()
		draw := func(rt *rapid.T) (arc.Order, arc.Action) {
			action := rapid.SampledFrom(actions).Draw(rt, "action")
			play := played[action]
			o := order(s.id, action, uint64(rapid.IntRange(play.least, play.most).Draw(rt, "parameter"))*play.unit)
			o.Generation = s.decided[action].draw(rt, m)
			return o, action
		}
		rt.Repeat(map[string]func(*rapid.T){
			"hold": func(rt *rapid.T) {
				o, _ := draw(rt)
				o.Observe = rapid.IntRange(0, 4).Draw(rt, "observe") == 0
				s.try(rt, func() { s.act(rt, o) })
			},
			"release": func(rt *rapid.T) {
				o, _ := draw(rt)
				o.Verb = arc.Release
				s.try(rt, func() { s.act(rt, o) })
			},
			"time passes": func(rt *rapid.T) {
				m.advance(int64(rapid.IntRange(1, 8000).Draw(rt, "ms")) * second / 1000)
				s.try(rt, s.g.Patrol)
			},
			"usage changes": func(rt *rapid.T) {
				m.set(t, "a", "memory.current", bytesOf(uint64(rapid.IntRange(64, 300).Draw(rt, "MiB"))*mib))
				m.set(t, "a", "pids.current", strconv.Itoa(rapid.IntRange(40, 300).Draw(rt, "tasks")))
			},
			"the owner writes": func(rt *rapid.T) {
				_, action := draw(rt)
				s.ownerWrites(rt, action, rapid.SampledFrom(played[action].owner).Draw(rt, "text"))
			},
			"systemd writes what it was told": func(*rapid.T) {
				for _, l := range s.g.Leases() {
					// Unless it was told otherwise since.
					if l.Knob == "memory.high" && !l.Observed && l.Declared != l.Original && s.owner[arc.ActionMemoryHigh] == l.Original {
						m.owner(t, "a", "memory.high", bytesOf(l.Declared))
					}
				}
			},
			"the guard dies": func(*rapid.T) { abandon(s.g); s.start() },
			"another boot": func(*rapid.T) {
				boot = strconv.FormatInt(m.now(), 10)
				abandon(s.g)
				s.start()
			},
			"the kill switch": func(rt *rapid.T) {
				require.NoError(rt, os.WriteFile(m.kill, nil, 0o600))
				s.g.Patrol()
				s.asOwned(rt, "with the kill switch on")
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
	root  *cgroupfs.Root
	dir   *cgroupfs.Dir
	owner map[arc.Action]uint64 // what each knob's owner wants
	last  map[arc.Action]uint64 // the value of the lease held

	decided map[arc.Action]*generations
}

// burst is what is coupled with cpu.max, small enough for every quota.
const burst = "1500"

func newWorld(t *testing.T, rt *rapid.T, m *machine) *world {
	t.Helper()
	w := &world{t: t, rt: rt, m: m, owner: map[arc.Action]uint64{}, decided: map[arc.Action]*generations{}}
	w.id = m.cgroup(t, "a")
	m.set(t, "a", "cpu.max.burst", burst)
	var err error
	w.root, err = cgroupfs.OpenRoot(m.dir)
	require.NoError(rt, err)
	w.dir, err = w.root.OpenPath("/a")
	require.NoError(rt, err)
	for action := range played {
		w.owner[action] = w.read(rt, action)
		w.decided[action] = &generations{granted: map[uint64]bool{}}
	}
	w.start()
	return w
}

func (w *world) read(rt *rapid.T, action arc.Action) uint64 {
	k := newKnobs()[action]
	on := target{dir: w.dir}
	if k.device() {
		on.device = device(disk)
	}
	v, err := k.read(on)
	require.NoError(rt, err)
	return v
}

func (w *world) record(action arc.Action) (r record, there bool) {
	text := w.m.attribute(w.id, recordName(action))
	if text == "" {
		return r, false
	}
	r, err := decodeRecord(newKnobs()[action], []byte(text))
	require.NoError(w.t, err)
	return r, true
}

// ownerWrites writes what its owner may write at that moment. The kernel lets
// nobody weigh what is idle, and of a switch nobody could tell who turned it.
func (w *world) ownerWrites(rt *rapid.T, action arc.Action, text string) {
	_, held := w.record(action)
	_, covered := w.record(arc.ActionCPUIdle)
	switch {
	case action == arc.ActionCPUWeight && w.read(rt, arc.ActionCPUIdle) == 1:
		return
	case held && (action == arc.ActionCPUIdle || action == arc.ActionFreeze):
		return
	case action == arc.ActionCPUIdle && covered:
		return
	}
	idled := w.read(rt, arc.ActionCPUIdle)
	w.m.owner(w.t, "a", played[action].file, text)
	w.m.owner(w.t, "a", "cpu.max.burst", burst)
	w.owner[action] = w.read(rt, action)
	if w.read(rt, arc.ActionCPUIdle) != idled {
		w.owner[arc.ActionCPUWeight] = w.read(rt, arc.ActionCPUWeight)
	}
}

// start starts a guard, which must leave things as the owner wants them.
func (w *world) start() {
	g, err := New(w.m.config())
	require.NoError(w.t, err)
	g.safe.procs = w.m.procs
	w.g, w.last = g, map[arc.Action]uint64{}
	g.fault = func(string, uint64) error { w.check(w.rt); return nil }
	w.asOwned(w.rt, "after a start")
	require.Empty(w.rt, w.m.records(w.id), "after a start")
}

func (w *world) asOwned(rt *rapid.T, when string) {
	for action, owned := range w.owner {
		require.Equal(rt, owned, w.read(rt, action), "%s %s", action, when)
	}
	require.Equal(rt, burst, w.m.get(w.t, "a", "cpu.max.burst"), when)
	require.Contains(rt, w.m.get(w.t, "a", "io.weight"), "8:16 300")
	require.Contains(rt, w.m.get(w.t, "a", "io.max"), "8:0 rbps=4096 wbps=max riops=max wiops=max")
}

// check holds at every instant: a knob that is not as its owner wants it is
// tighter, and has a record that says how to get back; and so has what is coupled
// with it.
func (w *world) check(rt *rapid.T) {
	idling, covered := w.record(arc.ActionCPUIdle)
	for action, owned := range w.owner {
		v := w.read(rt, action)
		if action == arc.ActionCPUWeight && covered && (w.read(rt, arc.ActionCPUIdle) == 1 || v == kernelWeight) {
			v = uint64(idling.Coupled["cpu.weight"])
		}
		if v == owned {
			continue
		}
		k := newKnobs()[action]
		require.True(rt, k.tightens(v, owned), "%s is %d, looser than its owner wants (%d)", action, v, owned)
		r, there := w.record(action)
		require.True(rt, there, "%s is turned and has no record", action)
		require.True(rt, r.ours(v), "%s: %d is not between %d and %d", action, v, r.Low, r.High)
		require.Equal(rt, owned, uint64(r.Original), action.String())
	}
	if is := w.m.get(w.t, "a", "cpu.max.burst"); is != burst {
		r, there := w.record(arc.ActionCPUMax)
		require.True(rt, there, "the burst has a record")
		require.Equal(rt, burst, strconv.FormatUint(uint64(r.Coupled["cpu.max.burst"]), 10))
	}
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
	if dies(do) {
		abandon(w.g)
		w.start()
		return
	}
	w.g.fault = nil
}

func (w *world) act(rt *rapid.T, o arc.Order) {
	var out arc.Outcome
	before := w.m.files(w.t, "a")
	require.NoError(rt, w.g.Act(context.Background(), o, &out))
	w.decided[o.Action].note(rt, &o, &out)
	switch out.Verdict {
	case arc.VerdictObserved:
		require.Equal(rt, before, w.m.files(w.t, "a"), "observing writes nothing")
	case arc.VerdictGranted:
		if file := map[arc.Action]string{arc.ActionMemoryHigh: "memory.current", arc.ActionPidsMax: "pids.current"}[o.Action]; file != "" {
			floor, err := strconv.ParseUint(before[file], 10, 64)
			require.NoError(rt, err)
			require.GreaterOrEqual(rt, out.Value, floor, "never below usage")
		}
		w.last[o.Action] = out.Value
	case arc.VerdictHeld:
		if o.Action == arc.ActionMemoryHigh || o.Action == arc.ActionPidsMax {
			require.GreaterOrEqual(rt, out.Value, w.last[o.Action], "within a lease the ceiling only rises")
		}
		w.last[o.Action] = out.Value
	}
}
