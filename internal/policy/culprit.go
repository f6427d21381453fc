// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// candidate is a cgroup under suspicion, or, for a flood without a guilty
// cgroup, an interface.
type candidate struct {
	slot      int32
	id        uint64
	own       float64 // growth of what it uses, a second
	effective float64 // of that, what does harm
	harm      Harm
	look      Inspection
	blind     bool // could not be looked at
	unsure    bool // looked at once: growth by kind is not known yet
	expected  bool // its growth would do harm, but it always comes back
	early     bool // its growth would do harm, but has not lasted long enough to say so

	usual       float64 // rate of use that is usual for it, where that is known
	read, write float64 // bytes a second, for I/O
	link        Interface
}

// where names the candidate in a sentence.
func (c *candidate) where() string {
	switch {
	case c.link.Index != 0:
		return "interface " + c.link.Name
	case c.look.Path == "":
		return fmt.Sprintf("cgroup %d", c.id)
	}
	return c.look.Path
}

// verdict is what an evaluation of one resource came to: an order about the
// leading candidate, a cause to decline, or neither (not yet).
type verdict struct {
	resource Resource
	order    bool
	pressed  bool // harm is measured or projected
	cause    Cause
	lead     *candidate
	second   float64 // growth of the runner-up
	detail   string
	rung     rung // what the order would do
}

// path is where the leading candidate is.
func (v *verdict) path() string {
	if v.lead.link.Index != 0 {
		return v.lead.link.Name
	}
	return v.lead.look.Path
}

// aimable checks whether the leading candidate may be aimed at at all.
func (p *Policy) aimable(v *verdict) bool {
	c := v.lead
	if c.blind {
		v.cause = CauseUninspectable
		return false
	}
	by, protected := p.safelist.Protects(c.look.Path)
	if !protected && !c.look.Populated {
		by, protected = "it has no process", true
	}
	if protected {
		v.cause, v.detail = CauseProtected, by
	}
	return !protected
}

// admit applies to the leading candidate what holds for every resource: hands
// off what was given up, grace, the margin, the next rung of the ladder and the
// budgets. It leaves v with an order, a cause, or neither.
func (p *Policy) admit(r resource, v *verdict, graced bool, s *arc.Sample) {
	c, now := v.lead, s.Taken
	m := p.history.of(c.id, c.look.Name, now)
	switch {
	case p.leftAlone(c.id, c.look.Name):
		v.cause = CauseOperator
		return
	case m.lost >= 2 || m.banned == p.episode:
		v.cause = CauseGivenUp
		return
	case now < m.restUntil:
		return // too early after a release, which is recorded
	case graced && p.leaseOn(c.id) == nil:
		if !m.excused {
			m.excused, m.oomKills = true, s.Node[arc.NodeOOMKills]
		}
		v.cause = CauseGrace
		return
	case v.second*p.cfg.Margin > c.effective:
		v.cause = CauseMargin
		return
	}
	if v.rung, v.cause = p.next(r, c, m, now); v.rung.action == arc.ActionNone {
		return
	}
	switch {
	case p.leaseFor(v.rung.action, c) != nil: // within its lease
		v.order = true
	case len(p.leases) >= p.cfg.MaxLeases:
		v.cause = CauseFull
	case p.leaseOn(c.id) == nil && p.contained() >= p.share():
		v.cause = CauseShare
	case !p.pace.allows(now, p.cfg.ActionsPerMinute):
		v.cause = CausePace
	default:
		v.order = true
	}
}

// next returns the mildest thing that is not done about c yet, or, once all of it
// is, the first cap that can be tightened; who is to be cut off is held as tight as
// can be before. Without an action it is too early, or,
// with a cause, the level cap is reached.
func (p *Policy) next(r resource, c *candidate, m *memory, now int64) (rung, Cause) {
	ladder, tightened := r.ladder(c), rung{}
	for i, g := range ladder {
		if p.lacks(g.action, now) || m.failures[g.action] >= maxFailures && i < len(ladder)-1 {
			continue // not here, or not for this cgroup: the next one is
		}
		if l := p.leaseFor(g.action, c); l != nil {
			if !l.shown(g.effect, now) {
				return rung{}, CauseNone // its effect cannot show yet
			}
			if tightened.action == arc.ActionNone && l.tighter() {
				tightened = g
			}
			continue
		}
		switch {
		case tightened.action != arc.ActionNone && g.level == LevelQuarantine:
			return tightened, CauseNone
		case g.level > p.cfg.MaxLevel:
			return rung{}, CauseCapped
		case now < m.retryAt[g.action]:
			return rung{}, CauseNone // too early after a refusal, which is recorded
		}
		return g, CauseNone
	}
	return tightened, CauseNone
}

// maxFailures is how often an action is refused for a cgroup, or fails, before
// the next on its ladder is tried.
const maxFailures = 2

// leaseFor returns the lease that holds action on c, or nil.
func (p *Policy) leaseFor(action arc.Action, c *candidate) *lease {
	for i := range p.leases {
		l := &p.leases[i]
		if l.action == action && l.cgroup == c.id && l.link == c.link.Index {
			return l
		}
	}
	return nil
}

// leaseOn returns a lease on a cgroup, whatever it holds, or nil.
func (p *Policy) leaseOn(id uint64) *lease {
	for i := range p.leases {
		if p.leases[i].cgroup == id {
			return &p.leases[i]
		}
	}
	return nil
}

// leaseOf returns the lease of a resource on a cgroup, or nil.
func (p *Policy) leaseOf(r Resource, id uint64) *lease {
	for i := range p.leases {
		if p.leases[i].cgroup == id && p.leases[i].resource == r {
			return &p.leases[i]
		}
	}
	return nil
}

// containing says that a lease of r is held: its stalls are then of our own
// making too.
func (p *Policy) containing(r Resource) bool {
	for i := range p.leases {
		if p.leases[i].resource == r {
			return true
		}
	}
	return false
}

// above says that a lease of r, or of anything for numResources, is held below
// slot: its growth is that lease's.
func (p *Policy) above(r Resource, slot int32) bool {
	for i := range p.leases {
		l := &p.leases[i]
		if l.resource != r && r != numResources {
			continue
		}
		if at, ok := p.table.slots[l.cgroup]; ok && at != slot && p.table.below(at, slot) {
			return true
		}
	}
	return false
}

// young says that startup grace excuses what c does to a resource, unless others
// suffer.
func (p *Policy) young(r Resource, c *candidate, now int64) bool {
	m := p.history.of(c.id, c.look.Name, now)
	return c.look.Age >= 0 && c.look.Age < p.cfg.StartupGrace && now >= m.graceless[r]
}

// sayCommon is the sentence for a cause that every resource knows. It begins
// with what the leading candidate does.
func (v *verdict) sayCommon(does string) string {
	switch v.cause {
	case CauseUninspectable:
		return does + " but cannot be inspected"
	case CauseProtected:
		return does + " but is never contained: " + v.detail
	case CauseGrace:
		return fmt.Sprintf("%s, but it started %s ago: growth at startup is no harm", does, v.lead.look.Age.Round(time.Second))
	case CauseGivenUp:
		return does + ", but it is left alone: its lease was lost or has come to its end"
	case CauseOperator:
		return does + ", but an operator wants it left alone"
	case CauseFull:
		return does + ", but as many leases as allowed are held"
	case CauseShare:
		return does + ", but as large a share of the node's cgroups as allowed is contained"
	case CausePace:
		return does + ", but as many actions a minute as allowed were begun"
	case CauseCapped:
		return does + ", but what could be done next is above the highest level allowed"
	case CauseStale:
		return "the input had a gap: escalation waits for fresh ticks"
	}
	return ""
}
