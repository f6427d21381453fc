// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestAnOrderTravelsWhole(t *testing.T) {
	for action := arc.ActionNone + 1; action < arc.NumActions; action++ {
		sent := arc.Order{
			Cgroup: 7, Device: disk, Interface: 3, Action: action, Verb: arc.Release, Observe: true, NoWayIn: true, Parameter: 5,
			TTL: second, Generation: 9, Scheduled: 11, Reason: "why",
		}
		text, err := json.Marshal(toWire(&sent))
		require.NoError(t, err)
		var w wireOrder
		require.NoError(t, json.Unmarshal(text, &w))
		got, err := w.order()
		require.NoError(t, err)
		assert.Equal(t, sent, got)
	}
}

func TestOrdersOfOtherBuilds(t *testing.T) {
	for text, refused := range map[string]bool{
		`{"cgroup":7,"action":"memory.high","verb":"hold","parameter":5}`:                false, // before there were devices
		`{"cgroup":7,"action":"memory.high","verb":"hold","parameter":5,"colour":"red"}`: false,
		`{"cgroup":7,"action":"memory.max","verb":"hold","parameter":5}`:                 true,
		`{"cgroup":7,"action":"none","verb":"hold","parameter":5}`:                       true,
		`{"cgroup":7,"action":"","verb":"hold"}`:                                         true,
		`{"cgroup":7,"action":"cpu.max","verb":"raise"}`:                                 true,
	} {
		var w wireOrder
		require.NoError(t, json.Unmarshal([]byte(text), &w))
		o, err := w.order()
		assert.Equal(t, refused, err != nil, text)
		if !refused {
			assert.Equal(t, arc.Order{Cgroup: 7, Action: arc.ActionMemoryHigh, Parameter: 5}, o)
		}
	}
}

func TestAnActionWithoutAKnobIsRefused(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	for action := range arc.NumActions + 1 {
		if _, known := g.knobs[action]; known || overNetwork(action) {
			continue
		}
		o := hold(id, 100)
		o.Action = action
		out := act(t, g, o)
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Contains(t, out.Cause, "no action")
	}
}
