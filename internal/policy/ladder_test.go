// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestLadderHoldsWhatMayBeOrdered(t *testing.T) {
	c := isolating(LevelQuarantine)
	all := map[arc.Action]int{}
	for _, g := range c.Ladder() {
		assert.Contains(t, belongs[resourceOf(t, g.Resource)].actions, g.Action)
		all[g.Action] = g.Level
	}
	assert.Equal(t, leastLevel, all, "every action, at its level")

	c.MaxLevel, c.Resources = LevelContainment, Resources(0).With(CPU).With(Network)
	assert.Equal(t, []Rung{{Level: 2, Resource: "cpu", Action: arc.ActionCPUWeight}}, c.Ladder())
}

func resourceOf(t *testing.T, name string) Resource {
	t.Helper()
	r, err := ParseResource(name)
	assert.NoError(t, err)
	return r
}
