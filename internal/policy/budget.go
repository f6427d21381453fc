// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// pace remembers when the last leases were begun.
type pace struct {
	at [maxPace]int64
	n  int
}

// maxPace bounds the actions a minute that can be allowed.
const maxPace = 60

// allows says that another lease may begin at now, at most so many a minute.
func (c *pace) allows(now int64, most int) bool {
	recent := 0
	for _, at := range c.at[:min(c.n, maxPace)] {
		if now-at < int64(time.Minute) {
			recent++
		}
	}
	return recent < most
}

func (c *pace) note(now int64) {
	c.at[c.n%maxPace] = now
	c.n++
}

// leastShare is how many cgroups may be contained on the smallest node.
const leastShare = 2

// share is how many cgroups of the node may be contained at once.
func (p *Policy) share() int {
	return max(leastShare, int(p.cfg.MaxShare*float64(p.populace)))
}

// contained counts the cgroups that leases are held on.
func (p *Policy) contained() int {
	n := 0
	for i := range p.leases {
		if p.leaseOn(p.leases[i].cgroup) == &p.leases[i] {
			n++
		}
	}
	return n
}

// missingFor is how long an action that the guard does not have is not asked
// for: the guard may be replaced by one that has it.
const missingFor = 10 * int64(time.Minute)

// lacks says that the guard has no such action.
func (p *Policy) lacks(a arc.Action, now int64) bool { return now < p.missing[a] }
