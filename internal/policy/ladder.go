// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/otelcol-reflex/reflex/internal/arc"

// Rung is one action that a level may order, and the pressed resource that it
// is the answer to.
type Rung struct {
	Level    int
	Resource string
	Action   arc.Action
	Observed bool // it would be ordered, and not be carried out
}

// ladders holds what can be done for each resource, mildest first; I/O and
// network choose among it by what the culprit does.
var ladders = [numResources][][]rung{
	Memory:  {memoryLadder},
	Tasks:   {taskLadder},
	CPU:     {cpuLadder},
	IO:      {ioReadsToo},
	Network: {floodLadder, networkLadder},
}

// Ladder returns every action that a policy with these numbers may order, by
// resource, mildest first.
func (c *Config) Ladder() []Rung {
	var all []Rung
	for r, of := range ladders {
		if !c.Resources.Has(Resource(r)) { //nolint:gosec // a handful
			continue
		}
		for _, ladder := range of {
			for _, g := range ladder {
				if g.level <= c.MaxLevel {
					all = append(all, Rung{Level: g.level, Resource: Resource(r).String(), Action: g.action, Observed: c.Observes(Resource(r))}) //nolint:gosec // a handful
				}
			}
		}
	}
	return all
}
