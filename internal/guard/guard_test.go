// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

func TestALeaseIsGrantedHeldAndReleased(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "batch/leak")
	g := m.guard(t)

	out := act(t, g, hold(id, 130*mib))
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	assert.Equal(t, arc.Outcome{
		Verdict: arc.VerdictGranted, Original: arc.Unlimited, Value: 130 * mib, Written: m.now(), Deadline: m.now() + 15*second,
	}, out)
	assert.Equal(t, 130*mib, m.high(t, "batch/leak"))
	assert.Contains(t, m.record(id), `"original":"max"`)

	m.advance(second / 10)
	out = act(t, g, hold(id, 131*mib))
	assert.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
	assert.Equal(t, 131*mib, m.high(t, "batch/leak"))
	assert.Equal(t, m.now()+15*second, out.Deadline)

	m.advance(second / 10)
	out = act(t, g, releaseOf(id))
	assert.Equal(t, arc.VerdictReleased, out.Verdict, out.Cause)
	assert.Equal(t, arc.Unlimited, out.Value)
	assert.Equal(t, arc.Unlimited, m.high(t, "batch/leak"))
	assert.Empty(t, m.record(id))
	assert.Equal(t, arc.VerdictReleased, act(t, g, releaseOf(id)).Verdict, "releasing again is done already")
}

func TestTheFloorOfAGrant(t *testing.T) {
	for name, c := range map[string]struct {
		files   map[string]string
		want    uint64
		ceiling uint64
		refused string
	}{
		"the order, where it is above everything":   {ceiling: 150 * mib, want: 150 * mib},
		"usage, so that the write reclaims nothing": {ceiling: 1 * mib, want: 100 * mib},
		"rounded up to a page":                      {ceiling: 150*mib + 1, want: 150*mib + 4096},
		"unreclaimable memory and the margin": {
			files: map[string]string{"memory.stat": "anon 96468992\nkernel 4194304\nunevictable 0"}, want: 96*mib + 16*mib,
		},
		"anonymous and locked memory counted twice is no more than usage": {
			files: map[string]string{"memory.stat": "anon 96468992\nunevictable 96468992"}, want: 116 * mib,
		},
		"kernel memory by its parts before 5.18": {
			files: map[string]string{"memory.stat": "anon 83886080\nslab_unreclaimable 8388608\nkernel_stack 4194304\nsock 4194304"}, want: 112 * mib,
		},
		"no memory.stat: nothing can be reclaimed": {files: map[string]string{"memory.stat": "-"}, want: 116 * mib},
		"what it was promised":                     {files: map[string]string{"memory.low": bytesOf(300 * mib)}, want: 300 * mib},
		"a tighter original":                       {files: map[string]string{"memory.high": bytesOf(100 * mib)}, refused: "tightens nothing"},
		"an original that is the same":             {files: map[string]string{"memory.high": bytesOf(150 * mib)}, ceiling: 150 * mib, refused: "tightens nothing"},
		"memory.max below the floor":               {files: map[string]string{"memory.max": bytesOf(100 * mib)}, refused: "memory.max"},
		"no memory controller":                     {files: map[string]string{"memory.high": "-"}, refused: "controller"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			for file, text := range c.files {
				if text == "-" {
					require.NoError(t, os.Remove(filepath.Join(m.dir, "a", file)))
					continue
				}
				m.set(t, "a", file, text)
			}
			out := act(t, m.guard(t), hold(id, c.ceiling))
			if c.refused != "" {
				assert.Contains(t, out.Cause, c.refused)
				assert.NotEqual(t, arc.VerdictGranted, out.Verdict)
				assert.Empty(t, m.record(id))
				return
			}
			require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
			assert.Equal(t, c.want, out.Value)
			assert.Equal(t, c.want, m.high(t, "a"))
			max, err := os.ReadFile(filepath.Join(m.dir, "a", "memory.max"))
			require.NoError(t, err)
			assert.Equal(t, "max\n", string(max), "memory.max is never written")
		})
	}
}

func TestWithinALeaseTheCeilingOnlyRisesAndNeverPassesTheOriginal(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	m.set(t, "a", "memory.high", bytesOf(200*mib))
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	for _, c := range []struct{ ask, want uint64 }{{120 * mib, 130 * mib}, {140*mib + 5, 140 * mib}, {0, 140 * mib}, {900 * mib, 200 * mib}, {arc.Unlimited, 200 * mib}} {
		m.advance(second / 10)
		out := act(t, g, hold(id, c.ask))
		require.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
		assert.Equal(t, c.want, m.high(t, "a"))
		assert.Equal(t, c.want, out.Value)
	}
}

func TestARisingCeilingNeedsNoRecordAtEachStep(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	steps := map[string]int{}
	g.fault = func(step string, _ uint64) error { steps[step]++; return nil }
	act(t, g, hold(id, 130*mib))
	for i := range uint64(100) { // 10 s at 10 MiB/s: past the interval once
		m.advance(second / 10)
		require.Equal(t, arc.VerdictHeld, act(t, g, hold(id, (131+i)*mib)).Verdict)
	}
	assert.Equal(t, 101, steps["knob"])
	assert.Less(t, steps["record"], 20, "about one a second for the deadline, and one for the interval")
	var r record
	r, err := decode(m.record(id))
	require.NoError(t, err)
	assert.True(t, r.ours(230*mib))
}

func TestACeilingRisesAtMost200TimesASecond(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	m.advance(second / 1000)
	out := act(t, g, hold(id, 131*mib))
	assert.Equal(t, arc.VerdictHeld, out.Verdict)
	assert.Equal(t, 130*mib, m.high(t, "a"))
	assert.NotEmpty(t, out.Cause)
	m.advance(second / 200)
	act(t, g, hold(id, 131*mib))
	assert.Equal(t, 131*mib, m.high(t, "a"))
}

func TestOrdersTheGuardDoesNotTake(t *testing.T) {
	for name, change := range map[string]func(*arc.Order){
		"no target":         func(o *arc.Order) { o.Cgroup = 0 },
		"no action":         func(o *arc.Order) { o.Action = arc.ActionNone },
		"an unknown action": func(o *arc.Order) { o.Action = 200 },
		"an unknown verb":   func(o *arc.Order) { o.Verb = 9 },
		"a short TTL":       func(o *arc.Order) { o.TTL = second - 1 },
		"a long TTL":        func(o *arc.Order) { o.TTL = 60*second + 1 },
		"a negative TTL":    func(o *arc.Order) { o.TTL = -1 },
		"a long reason":     func(o *arc.Order) { o.Reason = strings.Repeat("x", 257) },
		"a vanished target": func(o *arc.Order) { o.Cgroup = 1 << 50 },
	} {
		for _, observe := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				m := newMachine(t)
				o := hold(m.cgroup(t, "a"), 130*mib)
				o.Observe = observe
				change(&o)
				g := m.guard(t)
				out := act(t, g, o)
				assert.Equal(t, arc.VerdictRefused, out.Verdict)
				assert.NotEmpty(t, out.Cause)
				assert.Equal(t, arc.Unlimited, m.high(t, "a"))
				assert.Len(t, g.Status().Audit, 1, "a refusal is recorded")
			})
		}
	}
}

func TestAnOlderOrderIsRefused(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	o := hold(id, 130*mib)
	o.Generation = 7
	act(t, g, o)
	m.advance(second)
	for _, verb := range []arc.Verb{arc.Hold, arc.Release} {
		old := hold(id, 180*mib)
		old.Generation, old.Verb = 6, verb
		assert.Equal(t, arc.VerdictRefused, act(t, g, old).Verdict)
		assert.Equal(t, 130*mib, m.high(t, "a"))
	}
	o.Generation = 8
	assert.Equal(t, arc.VerdictHeld, act(t, g, o).Verdict)
	assert.Contains(t, m.record(id), `"generation":8`)
}

func TestObservingWritesNothingAndSaysWhatWouldBe(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	writes := 0
	g.fault = func(string, uint64) error { writes++; return nil }
	before, err := os.Stat(filepath.Join(m.dir, "a", "memory.high"))
	require.NoError(t, err)
	for i, c := range []struct{ ask, want uint64 }{{0, 100 * mib}, {130 * mib, 130 * mib}, {120 * mib, 130 * mib}} {
		o := hold(id, c.ask)
		o.Observe = true
		out := act(t, g, o)
		require.Equal(t, arc.VerdictObserved, out.Verdict, out.Cause)
		assert.Equal(t, c.want, out.Value, "order %d", i)
		assert.Zero(t, out.Written)
		m.advance(second)
	}
	leases := g.Status().Leases
	require.Len(t, leases, 1)
	assert.True(t, leases[0].Observed)
	m.set(t, "a", "memory.high", bytesOf(300*mib))
	o := hold(id, 0)
	o.Observe = true
	assert.Equal(t, 300*mib, act(t, g, o).Original, "what would be is thought anew from what is")
	m.advance(15 * second)
	g.Patrol()
	assert.Empty(t, g.Status().Leases)
	o.Verb = arc.Release
	assert.Equal(t, arc.VerdictObserved, act(t, g, o).Verdict)

	assert.Zero(t, writes)
	assert.Empty(t, m.record(id))
	after, err := os.Stat(filepath.Join(m.dir, "a", "memory.high"))
	require.NoError(t, err)
	assert.Equal(t, before.Mode(), after.Mode())
	assert.Equal(t, 300*mib, m.high(t, "a"))
}

func TestBudgets(t *testing.T) {
	t.Run("leases at a time", func(t *testing.T) {
		m := newMachine(t)
		g := m.guard(t)
		var first uint64
		for i := range 9 {
			id := m.cgroup(t, "a"+bytesOf(uint64(i)))
			out := act(t, g, hold(id, 130*mib))
			if i == 0 {
				first = id
			}
			if i < 8 {
				require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
				continue
			}
			assert.Equal(t, arc.VerdictRefused, out.Verdict)
			act(t, g, releaseOf(first))
			assert.Equal(t, arc.VerdictGranted, act(t, g, hold(id, 130*mib)).Verdict)
		}
	})
	t.Run("grants a minute, which observing does not spend", func(t *testing.T) {
		m := newMachine(t)
		m.change = func(c *Config) { c.GrantsPerMinute = 3 }
		id := m.cgroup(t, "a")
		g := m.guard(t)
		generation := uint64(0)
		once := func() arc.Verdict {
			generation++
			grant, release := hold(id, 130*mib), releaseOf(id)
			grant.Generation, release.Generation = generation, generation
			defer act(t, g, release)
			return act(t, g, grant).Verdict
		}
		o := hold(id, 130*mib)
		o.Observe = true
		for range 5 {
			act(t, g, o)
			g.ReleaseAll("")
		}
		for range 3 {
			require.Equal(t, arc.VerdictGranted, once())
		}
		assert.Equal(t, arc.VerdictRefused, once())
		m.advance(19 * second)
		assert.Equal(t, arc.VerdictRefused, once())
		m.advance(2 * second)
		assert.Equal(t, arc.VerdictGranted, once())
		assert.Equal(t, arc.VerdictRefused, once())
	})
}

func TestALeaseEndsAtItsDeadline(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	m.advance(15*second - 1)
	g.Patrol()
	assert.Equal(t, 130*mib, m.high(t, "a"))
	m.advance(1)
	g.Patrol()
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Empty(t, m.record(id))
	assert.Empty(t, g.Status().Leases)
	last := g.Status().Audit[1]
	assert.Equal(t, "released", last.Verdict)
	assert.Equal(t, "the lease expired", last.Cause)
}

func TestTheKillSwitchReleasesAndRefuses(t *testing.T) {
	m := newMachine(t)
	id, other := m.cgroup(t, "a"), m.cgroup(t, "b")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	act(t, g, hold(other, 130*mib))
	require.NoError(t, os.WriteFile(m.kill, nil, 0o600))
	out := act(t, g, hold(id, 131*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, m.kill)
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Equal(t, arc.Unlimited, m.high(t, "b"))
	assert.True(t, g.Status().KillSwitch.On)

	require.NoError(t, os.Remove(m.kill))
	require.Equal(t, arc.VerdictGranted, act(t, g, later(hold(id, 130*mib), 1)).Verdict)
	require.NoError(t, os.Symlink("/nowhere", m.kill))
	g.Patrol()
	assert.Equal(t, arc.Unlimited, m.high(t, "a"), "no order is needed, and a dangling link is a file")
}

func TestAKillSwitchThatCannotBeSeenIsOn(t *testing.T) {
	m := newMachine(t)
	m.kill = filepath.Join(m.dir, strings.Repeat("x", 300))
	out := act(t, m.guard(t), hold(m.cgroup(t, "a"), 130*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "cannot be known")
}

func TestAKnobThatSomebodyElseRewroteIsTheirs(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	for round, ends := range []func() arc.Verdict{
		func() arc.Verdict { return act(t, g, later(hold(id, 140*mib), 1)).Verdict }, // noticed at the next order
		func() arc.Verdict { // or when the lease ends
			m.advance(15 * second)
			g.Patrol()
			audit := g.Status().Audit
			assert.Equal(t, "lost", audit[len(audit)-1].Verdict)
			return arc.VerdictLost
		},
	} {
		m.advance(1) // no clock stands still between two leases
		require.Equal(t, arc.VerdictGranted, act(t, g, later(hold(id, 130*mib), uint64(round))).Verdict)
		m.set(t, "a", "memory.high", bytesOf(700*mib))
		assert.Equal(t, arc.VerdictLost, ends())
		assert.Equal(t, 700*mib, m.high(t, "a"), "round %d", round)
		assert.Empty(t, m.record(id))
	}
	check := func(g *Guard) {
		out := act(t, g, later(hold(id, 130*mib), 5))
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Contains(t, out.Cause, "hands off")
		assert.Equal(t, []Loss{{Cgroup: id, Times: 2, HandsOff: true}}, g.Status().Losses)
	}
	check(g)
	require.NoError(t, g.Close())
	g = m.guard(t)
	check(g) // a restart does not forget
	m.change = func(c *Config) { c.BootID = "the next boot" }
	require.NoError(t, g.Close())
	assert.Equal(t, arc.VerdictGranted, act(t, m.guard(t), hold(id, 130*mib)).Verdict)
}

func TestAResetToTheOriginalIsALossToo(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	m.set(t, "a", "memory.high", "max")
	assert.Equal(t, arc.VerdictLost, act(t, g, releaseOf(id)).Verdict)
}

func TestAnOwnerWhoWritesWhileALeaseIsGrantedKeepsTheirValue(t *testing.T) {
	for _, theirs := range []uint64{131 * mib, 700 * mib, 4096} { // the first is within the interval
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		g.fault = func(step string, _ uint64) error {
			if step == "knob written" {
				m.set(t, "a", "memory.high", bytesOf(theirs))
			}
			return nil
		}
		out := act(t, g, hold(id, 130*mib))
		assert.Equal(t, arc.VerdictLost, out.Verdict)
		assert.Equal(t, theirs, m.high(t, "a"))
		assert.Empty(t, m.record(id))
		assert.Empty(t, g.Status().Leases)

		m = newMachine(t)
		id = m.cgroup(t, "a")
		g = m.guard(t)
		g.fault = func(step string, _ uint64) error {
			if step == "knob written" {
				m.set(t, "a", "memory.high", bytesOf(theirs))
				return errors.New("and then it fails")
			}
			return nil
		}
		assert.Equal(t, arc.VerdictFailed, act(t, g, hold(id, 130*mib)).Verdict)
		assert.Equal(t, theirs, m.high(t, "a"))
		assert.Empty(t, m.record(id))
	}
}

func TestALostLeaseWhoseRecordSticksIsLostOnce(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	m.set(t, "a", "memory.high", bytesOf(131*mib)) // inside of the interval: known by the exact value
	g.fault = func(step string, _ uint64) error {
		if step == "remove" {
			return errors.New("no")
		}
		return nil
	}
	assert.Equal(t, arc.VerdictLost, act(t, g, hold(id, 140*mib)).Verdict)
	g.Patrol()
	g.fault = nil
	g.Patrol()
	assert.Equal(t, 131*mib, m.high(t, "a"))
	assert.Empty(t, m.record(id))
	assert.Equal(t, 1, g.Status().Losses[0].Times)
}

func TestACgroupThatVanishesTakesItsLeaseWithIt(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	require.NoError(t, os.RemoveAll(filepath.Join(m.dir, "a")))
	m.cgroup(t, "a") // another one at the same place
	out := act(t, g, hold(id, 140*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, cgroupfs.ErrGone.Error())
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Empty(t, g.Status().Leases)
}

func TestADamagedRecordIsLeftAndReported(t *testing.T) {
	good := `{"version":1,"original":"max","low":"104857600","high":"209715200","generation":1,"boot_id":"b"}`
	_, err := decode(good)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"not JSON":           "\x00\xff",
		"empty":              "",
		"no object":          "null",
		"another version":    strings.Replace(good, `"version":1`, `"version":2`, 1),
		"a limit of letters": strings.Replace(good, `"104857600"`, `"ten"`, 1),
		"an empty interval":  strings.Replace(good, `"low":"104857600"`, `"low":"309715200"`, 1),
		"above original":     strings.Replace(good, `"original":"max"`, `"original":"4096"`, 1),
		"no boot":            strings.Replace(good, `"b"`, `""`, 1),
		"huge":               strings.Repeat("[", 1<<16),
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			m.set(t, "a", "memory.high", bytesOf(110*mib))
			require.NoError(t, m.attrs.Set(0, id, recordPrefix+"memory.high", []byte(text)))
			g := m.guard(t)
			assert.Equal(t, 110*mib, m.high(t, "a"))
			assert.Equal(t, text, m.record(id), "evidence stays")
			damaged := g.Status().Damaged
			require.Len(t, damaged, 1)
			assert.Equal(t, "/a", damaged[0].Path)
			assert.Equal(t, arc.VerdictRefused, act(t, g, hold(id, 105*mib)).Verdict)
			require.NoError(t, g.Close())
			assert.Equal(t, 110*mib, m.high(t, "a"))
		})
	}
}

func TestCloseGivesEverythingBackAndRefusesFromThenOn(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	require.NoError(t, g.Close())
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Equal(t, arc.VerdictRefused, act(t, g, hold(id, 130*mib)).Verdict)
	require.NoError(t, g.Close())
}

func TestTheAuditKeepsTheLast256DecisionsAndFoldsRenewals(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	act(t, g, hold(id, 130*mib))
	for range 300 {
		m.advance(second / 10)
		act(t, g, hold(id, 130*mib))
	}
	s := g.Status()
	require.Len(t, s.Audit, 2)
	assert.Equal(t, 300, s.Audit[1].Times)
	assert.Equal(t, uint64(300), s.Verdicts["held"])
	for i := range uint64(300) {
		act(t, g, hold(1<<50+i, 130*mib))
	}
	s = g.Status()
	require.Len(t, s.Audit, 256)
	assert.Equal(t, uint64(1<<50+299), s.Audit[255].Cgroup)
	assert.Equal(t, uint64(1<<50+44), s.Audit[0].Cgroup)
}

func TestBadConfigurationNamesItsKey(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"protect[1]":        func(c *Config) { c.Protect = []string{"ok", "["} },
		"protect[0]":        func(c *Config) { c.Protect = []string{""} },
		"max_leases":        func(c *Config) { c.MaxLeases = -1 },
		"grants_per_minute": func(c *Config) { c.GrantsPerMinute = -1 },
	} {
		m := newMachine(t)
		m.change = change
		_, err := New(m.config())
		require.ErrorContains(t, err, key)
	}
}

func TestPatternsThatProtectNothingAreRefusedByName(t *testing.T) {
	for _, p := range []string{"", "[", "batch/db-*", "/batch/", "batch/", "/"} {
		c := Config{Protect: []string{"ok", p}}
		require.ErrorContains(t, c.Validate(), fmt.Sprintf("protect[1]: %q", p))
	}
	c := Config{Protect: []string{"db-*", "/batch", "/batch/db-*"}}
	require.NoError(t, c.Validate())
}

func TestSelfTest(t *testing.T) { require.NoError(t, SelfTest(t.Context(), t.TempDir())) }

func TestOrdersPatrolsAndStatusAtTheSameTime(t *testing.T) {
	m := newMachine(t)
	ids := []uint64{m.cgroup(t, "a"), m.cgroup(t, "b"), m.cgroup(t, "c")}
	m.change = func(c *Config) { c.GrantsPerMinute = 1 << 20 }
	g := m.guard(t)
	var all sync.WaitGroup
	for i, id := range ids {
		for _, o := range []arc.Order{hold(id, uint64(120+i)*mib), hold(id, 140*mib), releaseOf(id)} {
			all.Go(func() {
				for range 100 {
					var out arc.Outcome
					if err := g.Act(t.Context(), o, &out); err != nil {
						t.Error(err)
						return
					}
					assert.NotEqual(t, arc.VerdictNone, out.Verdict)
					assert.NotEqual(t, arc.VerdictFailed, out.Verdict, out.Cause)
					assert.NotEqual(t, arc.VerdictLost, out.Verdict, out.Cause)
					m.advance(second / 100)
				}
			})
		}
	}
	for _, f := range []func(){g.Patrol, func() { g.Status() }, func() { assert.NoError(t, g.ReleaseAll("test")) }} {
		all.Go(func() {
			for range 50 {
				f()
			}
		})
	}
	all.Wait()
	require.NoError(t, g.Close())
	for i, path := range []string{"a", "b", "c"} {
		assert.Equal(t, arc.Unlimited, m.high(t, path))
		assert.Empty(t, m.record(ids[i]))
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"original":"max","low":"104857600","high":"209715200","generation":1,"boot_id":"b"}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := decode(string(text))
		if err == nil && (r.Low > r.High || r.High > r.Original) {
			t.Fatalf("accepted %+v", r)
		}
	})
}
