// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	// simulatedSteps are made at least, over as many machines as it takes.
	simulatedSteps = 10_000
	// simulatedResult names the file that receives what came of them.
	simulatedResult = "REFLEX_SIMULATED"

	restartAfter = second / 10 // the supervisor's promise
	restoreIn    = second      // the lease's, beyond its end
)

// tally is what a run of the simulation did.
type tally struct {
	Steps      int `json:"steps"`
	Calls      int `json:"calls"`
	Crashes    int `json:"crashes"`
	Violations int `json:"violations"`

	writes, losses, recreated, replays int
}

// TestTroubleAheadOfAnyCallOnTheKernel lets orders, owners, tenants, time,
// failures and deaths come in any order, deaths and failures at any call on the
// kernel, and looks at every one of them.
func TestTroubleAheadOfAnyCallOnTheKernel(t *testing.T) {
	base := inMemory(t)
	var sum tally
	t.Cleanup(func() {
		if t.Failed() {
			sum.Violations++
		}
		if name := os.Getenv(simulatedResult); name != "" {
			text, err := json.Marshal(sum)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(name, text, 0o600))
		}
	})
	steps := simulatedSteps
	if testing.Short() { // as under the race detector, which this one goroutine does not need
		steps /= 10
	}
	for run := 0; sum.Steps < steps && !t.Failed(); {
		rapid.Check(t, func(rt *rapid.T) {
			run++
			simulate(t, rt, filepath.Join(base, strconv.Itoa(run)), &sum)
		})
	}
	t.Logf("%d steps, %d calls on the kernel, %d crashes, %d writes to knobs, %d losses, %d cgroups recreated, %d replays refused: 0 violations",
		sum.Steps, sum.Calls, sum.Crashes, sum.writes, sum.losses, sum.recreated, sum.replays)
	assert.Greater(t, sum.Crashes, sum.Steps/20, "deaths are frequent")
	assert.Greater(t, sum.writes, sum.Steps/10, "and so is what they can hit")
	assert.Greater(t, sum.losses, sum.Steps/1000)
	assert.Greater(t, sum.recreated, sum.Steps/200)
	assert.Greater(t, sum.replays, sum.Steps/200, "and orders come again whose lease has been")
}

// inMemory returns a directory in memory, where there is one: a cgroup file
// system is no disk either, and a directory made again has another id.
func inMemory(t *testing.T) string {
	t.Helper()
	var st unix.Statfs_t
	if unix.Statfs("/dev/shm", &st) == nil && st.Type == unix.TMPFS_MAGIC {
		if dir, err := os.MkdirTemp("/dev/shm", "reflex-"); err == nil { //nolint:usetesting // has to be there
			t.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
	}
	return t.TempDir()
}

// generations draws when orders were decided: now, or, replayed, when one before
// was. A generation is one lease's and nobody else's.
type generations struct {
	known   []uint64
	granted map[uint64]bool
	replays int // granted once, and refused since
}

func (g *generations) draw(rt *rapid.T, m *machine) uint64 {
	if n := len(g.known); n > 0 && rapid.IntRange(0, 4).Draw(rt, "decided before") > 2 {
		return g.known[n-1-rapid.IntRange(0, min(n-1, 20)).Draw(rt, "ago")]
	}
	m.advance(1 + ahead) // no two are decided at one instant, nor one as a guard starts
	g.known = append(g.known, uint64(m.now()))
	return uint64(m.now())
}

// note holds that no generation is granted twice.
func (g *generations) note(rt *rapid.T, o *arc.Order, out *arc.Outcome) {
	switch {
	case o.Observe || o.Verb != arc.Hold:
	case out.Verdict == arc.VerdictGranted:
		require.False(rt, g.granted[o.Generation], "a lease that has been is never granted again")
		g.granted[o.Generation] = true
	case out.Verdict == arc.VerdictRefused && out.Cause == string(errSpent) && g.granted[o.Generation]:
		g.replays++
	}
}

// owned is a cgroup that orders may be about.
type owned struct {
	generations generations
	path        string
	id          uint64
	owner       uint64 // what memory.high's owner wants
	until       int64  // the end of the latest lease it may be under
	last        uint64 // the ceiling of the lease held, 0 without
	garbage     bool   // its record is nobody's
}

// simulation is a machine, who lives on it, and the guard.
type simulation struct {
	t         *testing.T
	rt        *rapid.T
	m         *machine
	g         *Guard // nil while it is dead
	restartAt int64
	failures  int // deaths in a row
	owned     []*owned
	spared    map[string]uint64 // by path: protected cgroups, and a neighbour without orders
	stale     []uint64          // ids of cgroups that are gone
	writable  map[uint64]bool   // ids that were ever an owned cgroup's
	sum       *tally

	at, n   int // trouble comes ahead of the at-th call
	trouble trouble
	came    bool
}

type trouble int

const (
	none trouble = iota
	death
	failure
	rewrite
	recreation
	forgery
)

func simulate(t *testing.T, rt *rapid.T, top string, sum *tally) {
	t.Helper()
	m := &machine{dir: filepath.Join(top, "cgroup"), kill: filepath.Join(top, "off"), procs: filepath.Join(top, "proc"), attrs: &cgroupfs.Memory{}}
	m.clock.Store(second)
	require.NoError(rt, os.MkdirAll(m.dir, 0o755))
	defer os.RemoveAll(top)
	// A guard that dies cannot let go of a lock in this process.
	var st unix.Stat_t
	require.NoError(rt, unix.Stat(m.dir, &st))
	require.NoError(rt, os.Mkdir(filepath.Join(top, "guard-"+bytesOf(st.Ino)+".lock"), 0o700))
	w := &simulation{t: t, rt: rt, m: m, sum: sum, spared: map[string]uint64{}, writable: map[uint64]bool{}}
	m.change = func(c *Config) { c.calls, c.GrantsPerMinute = w.call, 600 }
	for _, path := range []string{"a", "b/c"} {
		o := &owned{path: path, owner: arc.Unlimited, id: m.cgroup(t, path), generations: generations{granted: map[uint64]bool{}}}
		w.owned = append(w.owned, o)
		w.writable[o.id] = true
	}
	for _, path := range []string{"neighbour", "x.slice", "x.slice/init.scope", "x.slice/sshd.service"} {
		w.spared[path] = m.cgroup(t, path)
		m.set(t, path, "memory.high", bytesOf(600*mib))
	}
	w.start()
	defer w.bury()
	steps := w.steps()
	for name, step := range steps {
		if name != "" {
			steps[name] = func(rt *rapid.T) { w.rt = rt; sum.Steps++; step(rt) }
		}
	}
	rt.Repeat(steps)
}

func (w *simulation) steps() map[string]func(*rapid.T) {
	some := func(rt *rapid.T) *owned { return rapid.SampledFrom(w.owned).Draw(rt, "cgroup") }
	return map[string]func(*rapid.T){
		"hold":        func(rt *rapid.T) { w.hold(rt, some(rt)) },
		"hold first":  func(rt *rapid.T) { w.hold(rt, w.owned[0]) },
		"hold second": func(rt *rapid.T) { w.hold(rt, w.owned[1]) },
		"hold and renew": func(rt *rapid.T) {
			for range rapid.IntRange(2, 6).Draw(rt, "times") {
				w.hold(rt, w.owned[0])
				w.pass(rt, rapid.IntRange(1, 9).Draw(rt, "tenths"))
			}
		},
		"release": func(rt *rapid.T) {
			o := some(rt)
			order := releaseOf(o.id)
			order.Generation = o.generations.draw(rt, w.m)
			w.try(rt, func() { w.act(rt, o, order) })
		},
		"a hold comes again after its release": func(rt *rapid.T) {
			o := some(rt)
			order := hold(o.id, 200*mib)
			order.Generation = o.generations.draw(rt, w.m)
			release := order
			release.Verb = arc.Release
			for _, next := range []arc.Order{order, release, order} {
				next.Cgroup = o.id // it may be made again in between
				w.try(rt, func() { w.act(rt, o, next) })
			}
		},
		"an order about what may not be touched": func(rt *rapid.T) {
			ids := append([]uint64{0, 1}, w.stale...)
			for _, id := range w.spared {
				if id != w.spared["neighbour"] {
					ids = append(ids, id)
				}
			}
			order := hold(rapid.SampledFrom(ids).Draw(rt, "id"), 130*mib)
			w.try(rt, func() {
				var out arc.Outcome
				require.NoError(rt, w.g.Act(context.Background(), order, &out))
				require.NotContains(rt, []arc.Verdict{arc.VerdictGranted, arc.VerdictHeld}, out.Verdict)
			})
		},
		"time passes": func(rt *rapid.T) { w.pass(rt, rapid.IntRange(1, 80).Draw(rt, "tenths")) },
		"the machine sleeps": func(rt *rapid.T) {
			w.m.advance(int64(rapid.IntRange(1, 600).Draw(rt, "s")) * second)
			for _, o := range w.owned {
				o.until = max(o.until, w.m.now()) // nobody could do anything meanwhile
			}
			w.restartAt = w.m.now()
			w.pass(rt, 1)
		},
		"usage changes": func(rt *rapid.T) {
			w.m.set(w.t, some(rt).path, "memory.current", bytesOf(uint64(rapid.IntRange(64, 300).Draw(rt, "MiB"))*mib))
		},
		"the owner writes": func(rt *rapid.T) { w.rewrite(rt, some(rt)) },
		"the cgroup is made again": func(rt *rapid.T) {
			w.recreate(some(rt))
		},
		"a record is damaged": func(rt *rapid.T) {
			if o := some(rt); w.m.record(o.id) == "" || o.garbage {
				name := recordPrefix + "memory.high"
				if o.garbage = !o.garbage; o.garbage {
					text := rapid.SampledFrom([]string{"", "{}", "garbage", `{"version":1,"original":"1","low":"max","high":"0"}`, strings.Repeat("x", maxRecordLength+1)}).Draw(rt, "text")
					require.NoError(rt, w.m.attrs.Set(0, o.id, name, []byte(text)))
				} else {
					require.NoError(rt, w.m.attrs.Remove(0, o.id, name))
				}
			}
		},
		"the guard dies": func(*rapid.T) { w.die() },
		"another boot": func(rt *rapid.T) {
			w.die()
			w.m.clock.Store(second) // its clock begins again, and so do generations
			for _, o := range w.owned {
				o.generations = generations{granted: map[uint64]bool{}}
			}
			w.m.change = func(c *Config) {
				c.calls, c.GrantsPerMinute, c.BootID = w.call, 600, strconv.Itoa(w.sum.Calls)
			}
			for _, o := range w.owned {
				o.until = w.m.now()
			}
			w.restartAt = w.m.now()
			w.pass(rt, 1)
		},
		"the kill switch": func(rt *rapid.T) {
			if os.Remove(w.m.kill) == nil {
				return
			}
			require.NoError(rt, os.WriteFile(w.m.kill, nil, 0o600))
			for _, o := range w.owned {
				o.until = min(o.until, w.m.now())
			}
			w.pass(rt, 1)
			if rapid.IntRange(0, 3).Draw(rt, "for longer") > 0 {
				require.NoError(rt, os.Remove(w.m.kill))
			}
		},
		"": func(rt *rapid.T) { w.checkAll(rt) },
	}
}

func (w *simulation) hold(rt *rapid.T, o *owned) {
	order := hold(o.id, uint64(rapid.IntRange(0, 400).Draw(rt, "MiB"))*mib)
	order.TTL = rapid.SampledFrom([]int64{second, 2 * second, 15 * second}).Draw(rt, "ttl")
	order.Generation = o.generations.draw(rt, w.m)
	order.Observe = rapid.IntRange(0, 4).Draw(rt, "observe") == 0
	w.try(rt, func() { w.act(rt, o, order) })
}

// act gives an order and looks at its outcome, where nothing else happened.
func (w *simulation) act(rt *rapid.T, o *owned, order arc.Order) {
	var out arc.Outcome
	before := w.m.high(w.t, o.path)
	if order.Verb == arc.Hold && !order.Observe && !w.killed() {
		o.until = max(o.until, w.m.now()+order.TTL)
	}
	replays := o.generations.replays
	require.NoError(rt, w.g.Act(context.Background(), order, &out))
	o.generations.note(rt, &order, &out)
	w.sum.replays += o.generations.replays - replays
	if w.came {
		o.last = 0
		return
	}
	after := w.m.high(w.t, o.path)
	switch out.Verdict {
	case arc.VerdictObserved:
		require.Equal(rt, before, after, "observing writes nothing")
	case arc.VerdictGranted:
		require.False(rt, o.garbage, "a record that cannot be read forbids leases")
		require.False(rt, w.killed())
		usage, err := os.ReadFile(filepath.Join(w.m.dir, o.path, "memory.current"))
		require.NoError(rt, err)
		floor, _ := cgroupfs.ParseUint(usage)
		require.GreaterOrEqual(rt, after, floor, "never below usage")
		o.last = after
	case arc.VerdictHeld:
		require.GreaterOrEqual(rt, after, o.last, "within a lease the ceiling only rises")
		o.last = after
	case arc.VerdictReleased:
		require.Equal(rt, o.owner, after, "released is given back")
	case arc.VerdictLost:
		require.Equal(rt, o.owner, after, "lost is left alone")
	}
}

func (w *simulation) killed() bool {
	_, err := os.Lstat(w.m.kill)
	return err == nil
}

// pass lets time go by: a guard patrols, a dead one is started again.
func (w *simulation) pass(rt *rapid.T, tenths int) {
	for range tenths {
		w.m.advance(second / 10)
		if w.g == nil && w.m.now() >= w.restartAt {
			w.draw(rt)
			w.start()
		} else if w.g != nil {
			w.try(rt, w.g.Patrol)
		}
		w.checkAll(rt)
	}
}

// draw decides which trouble comes next. A guard that dies three times in a row
// is left in peace, or no promise about time could be kept.
func (w *simulation) draw(rt *rapid.T) {
	w.n, w.came = 0, false
	w.trouble = rapid.SampledFrom([]trouble{none, none, none, none, death, death, failure, rewrite, recreation, forgery}).Draw(rt, "trouble")
	w.at = rapid.IntRange(1, 40).Draw(rt, "ahead of call")
	if w.failures > 2 {
		w.trouble = none
	}
}

// try runs what trouble may come to.
func (w *simulation) try(rt *rapid.T, do func()) {
	if w.g == nil {
		w.pass(rt, 1+int(restartAfter/(second/10))) // it is started again
	}
	if w.g == nil {
		return
	}
	w.draw(rt)
	w.survive(do)
	w.trouble = none
}

// survive runs something that the guard may die of.
func (w *simulation) survive(do func()) {
	if dies(do) {
		w.failures++
		w.die()
		return
	}
	w.failures = 0
}

// start starts a guard, which must leave things as their owners want them.
func (w *simulation) start() {
	w.survive(func() {
		g, err := New(w.m.config())
		require.NoError(w.rt, err)
		g.safe.procs = w.m.procs
		w.g = g
	})
	if w.g == nil || w.came {
		return
	}
	for _, o := range w.owned {
		require.Equal(w.rt, o.owner, w.m.high(w.t, o.path), "after a start")
		if !o.garbage {
			require.Empty(w.rt, w.m.record(o.id), "after a start")
		}
	}
}

// die ends the guard as SIGKILL would.
func (w *simulation) die() {
	w.sum.Crashes++
	w.restartAt = w.m.now() + restartAfter
	w.bury()
}

// bury closes what the kernel would close.
func (w *simulation) bury() {
	if w.g != nil {
		abandon(w.g)
		w.g = nil
	}
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(w.t, err)
	for _, fd := range fds {
		name, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if n, bad := strconv.Atoi(fd.Name()); err == nil && bad == nil && strings.HasPrefix(name, filepath.Dir(w.m.dir)) {
			unix.Close(n)
		}
	}
	for _, o := range w.owned {
		o.last = 0
	}
}

// call comes ahead of every call on the kernel.
func (w *simulation) call(c cgroupfs.Call) error {
	w.sum.Calls++
	writes := c.Verb == "write" || c.Verb == "set attribute" || c.Verb == "remove attribute"
	if writes {
		switch {
		case c.Verb == "write":
			w.sum.writes++
		case c.Name == handsOffRecord:
			w.sum.losses++
		}
		require.True(w.rt, w.writable[c.Cgroup], "%s %s of cgroup %d", c.Verb, c.Name, c.Cgroup)
	}
	for _, o := range w.owned {
		if o.id == c.Cgroup {
			w.check(w.rt, o)
		}
	}
	if w.n++; w.n != w.at || w.trouble == none {
		return nil
	}
	w.came = true
	switch w.trouble {
	case death:
		panic(crash{})
	case failure:
		return errors.New("injected failure")
	case rewrite:
		// Between the look and the write nobody can tell: see the package's
		// documentation.
		if c.Verb != "write" {
			w.rewrite(w.rt, w.owned[0])
		}
	case recreation:
		w.recreate(w.owned[0])
	case forgery:
		forged := record{Version: recordVersion, Original: limit(arc.Unlimited), Low: 4096, High: limit(arc.Unlimited), BootID: "this-boot"}
		text, err := forged.encode()
		require.NoError(w.rt, err)
		require.NoError(w.rt, w.m.attrs.Set(0, w.owned[0].id, "user.reflex.lease.memory.high", text))
	}
	return nil
}

// rewrite has the owner write a value outside of any interval of ours: inside,
// after a death, nobody could tell it from our own.
func (w *simulation) rewrite(rt *rapid.T, o *owned) {
	o.owner = rapid.SampledFrom([]uint64{arc.Unlimited, 900 * mib, 901 * mib, 4096}).Draw(rt, "value")
	w.m.set(w.t, o.path, "memory.high", string(cgroupfs.AppendUint(nil, o.owner)))
}

// recreate replaces a cgroup by another one at the same path. Its attributes go
// with it.
func (w *simulation) recreate(o *owned) {
	w.sum.recreated++
	w.stale = append(w.stale[max(0, len(w.stale)-4):], o.id)
	require.NoError(w.rt, os.RemoveAll(filepath.Join(w.m.dir, o.path)))
	for _, name := range []string{recordPrefix + "memory.high", handsOffRecord, "user.reflex.lease.memory.high"} {
		require.NoError(w.rt, w.m.attrs.Remove(0, o.id, name))
	}
	*o = owned{path: o.path, owner: arc.Unlimited, id: w.m.cgroup(w.t, o.path), generations: generations{granted: map[uint64]bool{}}}
	w.writable[o.id] = true
}

func (w *simulation) checkAll(rt *rapid.T) {
	for _, o := range w.owned {
		w.check(rt, o)
	}
	for path, id := range w.spared {
		require.Equal(rt, 600*mib, w.m.high(w.t, path), "%s is nobody's to touch", path)
		require.Empty(rt, w.m.record(id))
	}
}

// check holds at every instant: a knob that is not as its owner wants it is
// tighter, has a record that says how to get back, and is not late.
func (w *simulation) check(rt *rapid.T, o *owned) {
	v := w.m.high(w.t, o.path)
	if v == o.owner {
		return
	}
	require.False(rt, o.garbage, "a knob with a record that cannot be read is left alone")
	require.Less(rt, v, o.owner, "never looser than the owner wants")
	require.LessOrEqual(rt, w.m.now(), o.until+restoreIn, "back in time")
	r, err := decodeRecord(newKnobs()[arc.ActionMemoryHigh], []byte(w.m.record(o.id)))
	require.NoError(rt, err, "a turned knob has a record")
	require.True(rt, r.ours(v), "%d is not between %d and %d", v, r.Low, r.High)
	require.Equal(rt, o.owner, uint64(r.Original))
}
