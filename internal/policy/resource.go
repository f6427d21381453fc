// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Resource is what can run short. A new one is a constant here, its row in
// resourceNames, and a file with its implementation of resource, made in New.
type Resource uint8

// The resources, in the order in which they are looked at: what ends a machine
// soonest comes first.
const (
	Memory Resource = iota
	Tasks
	CPU
	IO
	Network

	numResources
)

var resourceNames = [numResources]string{"memory", "pids", "cpu", "io", "network"}

// String returns the resource's name as it is configured.
func (r Resource) String() string {
	if r < numResources {
		return resourceNames[r]
	}
	return "unknown"
}

// ParseResource is the inverse of [Resource.String].
func ParseResource(name string) (Resource, error) {
	for r, known := range resourceNames {
		if name == known {
			return Resource(r), nil //nolint:gosec // a handful
		}
	}
	return 0, fmt.Errorf("unknown resource %q, want one of %s", name, strings.Join(resourceNames[:], ", "))
}

// Resources is a set of resources.
type Resources uint8

// AllResources holds every resource.
const AllResources Resources = 1<<numResources - 1

// With returns the set and r.
func (s Resources) With(r Resource) Resources { return s | 1<<r }

// Has says whether r is in the set.
func (s Resources) Has(r Resource) bool { return s&(1<<r) != 0 }

// Names lists the names of the resources in the set.
func (s Resources) Names() []string {
	var names []string
	for r := range numResources {
		if s.Has(r) {
			names = append(names, r.String())
		}
	}
	return names
}

// resource is what the rules know of one resource: when it does harm, whose
// fault that is, and what can be done about it, mildest first.
type resource interface {
	// name is which one it is.
	name() Resource
	// observe follows the resource through one tick, harm or not. learn says that
	// the node is in its normal behaviour, from which what is usual is learned.
	observe(s *arc.Sample, learn bool)
	// judge says whether the resource does harm and who causes it. It is called
	// at level 1 and above.
	judge(p *Policy, s *arc.Sample, inspector Inspector) verdict
	// ladder lists what can be done about c, mildest first.
	ladder(c *candidate) []rung
	// open sets parameter and state of a lease about to be ordered.
	open(p *Policy, l *lease, c *candidate, s *arc.Sample)
	// press takes a held lease through dt nanoseconds and says whether its cgroup
	// presses against it; known is false where that cannot be told.
	press(p *Policy, l *lease, slot int32, s *arc.Sample, dt int64) (pressing, known bool)
	// end ends a lease that has nothing left to give and says whether it did.
	end(p *Policy, l *lease, slot int32, s *arc.Sample, pressing bool) bool
	// say puts a verdict to decline into a sentence.
	say(v *verdict) string
}

// rung is one thing that can be done.
type rung struct {
	level  int
	action arc.Action
	// effect is how long it takes to show, the window of what is measured
	// included: nothing harder is done to the same cgroup before.
	effect time.Duration
}

// everlasting is a resource whose leases end only by calm.
type everlasting struct{}

func (everlasting) end(*Policy, *lease, int32, *arc.Sample, bool) bool { return false }
