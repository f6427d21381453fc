// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	weight = arc.ActionCPUWeight
	idle   = arc.ActionCPUIdle
)

// orders are all ways in which two coupled leases can begin and end.
var orders = [][4]arc.Action{
	{weight, idle, weight, idle}, {weight, idle, idle, weight}, {idle, weight, weight, idle}, {idle, weight, idle, weight},
}

func TestCoupledKnobsBeginAndEndInAnyOrder(t *testing.T) {
	for _, turn := range orders {
		for _, ends := range []string{"released", "expired"} {
			t.Run(fmt.Sprint(turn, ends), func(t *testing.T) {
				m := newMachine(t)
				id := m.cgroup(t, "a")
				before := m.files(t, "a")
				g := m.guard(t)
				for i, action := range turn[:2] {
					o := order(id, action, map[arc.Action]uint64{weight: 10, idle: 1}[action])
					o.TTL = second
					if turn[2] != action {
						o.TTL = 2 * second
					}
					out := act(t, g, o)
					require.Equal(t, arc.VerdictGranted, out.Verdict, "%d: %s", i, out.Cause)
				}
				assert.Equal(t, "1", m.get(t, "a", "cpu.idle"))
				assert.Equal(t, []string{"cpu.idle", "cpu.weight"}, m.records(id))
				// Moved while it is out of reach: what comes back is what was asked for last.
				m.advance(second / 2)
				o := order(id, weight, 20)
				o.TTL = second
				if turn[2] != weight {
					o.TTL = 2 * second
				}
				out := act(t, g, o)
				require.Equal(t, arc.VerdictHeld, out.Verdict, out.Cause)
				assert.Equal(t, uint64(20), out.Value)
				for i, action := range turn[2:] {
					if ends == "released" {
						require.Equal(t, arc.VerdictReleased, act(t, g, releaseOrder(id, action)).Verdict)
					} else {
						m.advance(second)
						g.Patrol()
					}
					if i == 0 && action == idle {
						assert.Equal(t, "20", m.get(t, "a", "cpu.weight"), "the other lease's value")
					}
					if i == 0 && ends == "released" {
						assert.Equal(t, []string{turn[3].String()}, m.records(id))
					}
				}
				m.advance(second)
				g.Patrol()
				assert.Equal(t, before, m.files(t, "a"))
				assert.Empty(t, m.records(id))
				assert.Empty(t, g.Status().Losses)
			})
		}
	}
}

func TestCoupledKnobsSurviveAKillAtAnyStep(t *testing.T) {
	for _, turn := range orders {
		for k := 1; ; k++ {
			m := newMachine(t)
			id := m.cgroup(t, "a")
			before := m.files(t, "a")
			g := m.guard(t)
			name := dieAt(g, k, func() {
				var out arc.Outcome
				for i, action := range turn {
					o := order(id, action, map[arc.Action]uint64{weight: 10, idle: 1}[action])
					if i >= 2 {
						o.Verb = arc.Release
					}
					g.Act(context.Background(), o, &out)
				}
			})
			if name == "" {
				assert.Greater(t, k, 16, "the run has steps")
				break
			}
			abandon(g)
			next := m.guard(t)
			assert.Equal(t, before, m.files(t, "a"), "%v killed at step %d (%s)", turn, k, name)
			assert.Empty(t, m.records(id), "%v killed at step %d (%s)", turn, k, name)
			assert.Empty(t, next.Status().Losses)
			require.NoError(t, next.Close())
		}
	}
}

func TestAnOwnerWhoEndsIdlingKeepsWhatTheyWrote(t *testing.T) {
	for _, both := range []bool{false, true} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		g := m.guard(t)
		if both {
			act(t, g, order(id, weight, 10))
		}
		require.Equal(t, arc.VerdictGranted, act(t, g, order(id, idle, 1)).Verdict)
		m.owner(t, "a", "cpu.idle", "0")
		m.owner(t, "a", "cpu.weight", "70")
		out := act(t, g, order(id, idle, 1))
		assert.Equal(t, arc.VerdictLost, out.Verdict)
		assert.Contains(t, out.Cause, "cpu.weight, left alone as well, was")
		if both {
			assert.Equal(t, arc.VerdictLost, act(t, g, releaseOrder(id, weight)).Verdict)
		}
		assert.Equal(t, "0", m.get(t, "a", "cpu.idle"))
		assert.Equal(t, "70", m.get(t, "a", "cpu.weight"))
		assert.Empty(t, m.records(id))
	}
}

func TestAnOrderAboutACoupledKnobWaitsForTheOthersWrite(t *testing.T) {
	m := newMachine(t)
	id, other := m.cgroup(t, "a"), m.cgroup(t, "b")
	before := m.files(t, "a")
	g := m.guard(t)
	entered, freed := make(chan struct{}), make(chan struct{})
	g.fault = func(step string, cgroup uint64) error {
		if step == "knob" && cgroup == id {
			select {
			case <-entered:
			default:
				close(entered)
				<-freed
			}
		}
		return nil
	}
	verdicts := make(chan arc.Verdict, 3)
	give := func(o arc.Order) {
		var out arc.Outcome
		_ = g.Act(t.Context(), o, &out)
		verdicts <- out.Verdict
	}
	go give(order(id, idle, 1))
	<-entered
	go give(order(id, weight, 10))
	go give(order(id, idle, 1)) // again, before the first is done
	// A first write that takes long holds up nobody else.
	require.Equal(t, arc.VerdictGranted, act(t, g, order(other, weight, 10)).Verdict)
	require.Equal(t, arc.VerdictGranted, act(t, g, order(id, arc.ActionPidsMax, 100)).Verdict)
	g.Patrol()
	select {
	case v := <-verdicts:
		t.Fatalf("%s before the write was done", v)
	case <-time.After(50 * time.Millisecond):
	}
	close(freed)
	got := map[arc.Verdict]int{}
	for range 3 {
		got[<-verdicts]++
	}
	assert.Equal(t, map[arc.Verdict]int{arc.VerdictGranted: 2, arc.VerdictHeld: 1}, got)
	require.NoError(t, g.Close())
	assert.Equal(t, before, m.files(t, "a"))
}

func TestAMoveThatTheRecordDoesNotTakeIsNoMove(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	before := m.files(t, "a")
	g := m.guard(t)
	act(t, g, order(id, weight, 10))
	act(t, g, order(id, idle, 1))
	m.advance(second)
	records := 0
	g.fault = func(step string, _ uint64) error {
		if step == "record" {
			if records++; records == 2 { // the first is that of cpu.weight itself
				return errors.New("no")
			}
		}
		return nil
	}
	assert.Equal(t, arc.VerdictFailed, act(t, g, order(id, weight, 20)).Verdict)
	g.fault = nil
	require.Equal(t, arc.VerdictReleased, act(t, g, releaseOrder(id, idle)).Verdict)
	assert.Equal(t, "10", m.get(t, "a", "cpu.weight"))
	require.Equal(t, arc.VerdictReleased, act(t, g, releaseOrder(id, weight)).Verdict)
	assert.Equal(t, before, m.files(t, "a"))
}

func TestTwoOrdersForOneLeaseMakeOne(t *testing.T) {
	m := newMachine(t)
	o := order(m.cgroup(t, "a"), arc.ActionPidsMax, 100)
	g := m.guard(t)
	lease := func() *lease {
		return &lease{key: leaseKey{o.Cgroup, o.Action}, knob: g.knobs[o.Action]}
	}
	first := lease()
	wait, err := g.admit(t.Context(), first, &o)
	require.NoError(t, err)
	require.Nil(t, wait)
	wait, err = g.admit(t.Context(), lease(), &o)
	require.NoError(t, err)
	assert.Same(t, first.mu, wait)
	require.NoError(t, g.begin(first))
	first.mu.Unlock()
	assert.Equal(t, arc.VerdictHeld, act(t, g, o).Verdict)
}

// A record that may have been written is given back, whether it was or not.
func TestACoveredWeightWhoseRecordMayBeWrittenComesBack(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	before := m.files(t, "a")
	g := m.guard(t)
	require.Equal(t, arc.VerdictGranted, act(t, g, order(id, idle, 1)).Verdict)
	written := 0
	g.fault = func(step string, _ uint64) error {
		if step == "record written" {
			if written++; written == 2 { // its own, then that of the lease that covers it
				return errors.New("not known")
			}
		}
		return nil
	}
	require.NotEqual(t, arc.VerdictGranted, act(t, g, order(id, weight, 10)).Verdict)
	g.fault = nil
	abandon(g)
	_, err := New(m.config()) // the next guard, which has the records alone
	require.NoError(t, err)
	assert.Equal(t, before, m.files(t, "a"))
	assert.Empty(t, m.records(id))
}

// A lease that was given back but for its record is not gone on with: there would be no
// saying what of it is ours.
func TestALeaseThatWasGivenBackButForItsRecordBeginsAnew(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	o := order(id, arc.ActionFreeze, 1)
	require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
	g.fault = func(step string, _ uint64) error {
		if step == "remove" {
			return errors.New("not now")
		}
		return nil
	}
	require.Equal(t, arc.VerdictFailed, act(t, g, releaseOrder(id, arc.ActionFreeze)).Verdict)
	require.Equal(t, "0", m.get(t, "a", "cgroup.freeze"))
	g.fault = nil
	m.advance(second)
	o.Generation += 10
	require.Equal(t, arc.VerdictGranted, act(t, g, o).Verdict)
	abandon(g)
	g, err := New(m.config()) // the next guard
	require.NoError(t, err)
	assert.Empty(t, g.Status().Damaged)
	assert.Equal(t, "0", m.get(t, "a", "cgroup.freeze"))
	assert.Empty(t, m.records(id))
}
